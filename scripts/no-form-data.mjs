/** Stands in for the global of that name; see build.mjs. */
export class FormData {}
