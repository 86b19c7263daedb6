/** Replaces the global in nexusctl; build.mjs gives the reason. */
export class FormData {}
