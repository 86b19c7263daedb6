declare const NEXUS_VERSION: string

/** The version in package.json. esbuild and vitest define `NEXUS_VERSION`. */
export const version: string = NEXUS_VERSION
