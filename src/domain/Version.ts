declare const NEXUS_VERSION: string

/** The version in package.json, put in place by the bundler (and by vitest for the tests). */
export const version: string = NEXUS_VERSION
