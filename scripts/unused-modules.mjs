// Modules that a bundle leaves out, since none of its calls reaches them.

/**
 * The server's routers with multipart forms, an effect that runs a Micro, and a supervisor's set of fibers. Without them the
 * web page is 19 KiB smaller, and nexusctl 80 KB.
 */
export const unusedByClients =
  /\/(?:@effect\/platform\/dist\/esm\/HttpRouter|effect\/dist\/esm\/(?:Micro|SortedSet))\.js$/

/** The prompts of @effect/cli, which no command has. They lay out text when they are loaded, for 3 ms. */
export const prompts = /\/@effect\/cli\/dist\/esm\/internal\/prompt\/[\w-]+\.js$/

/**
 * Replaces modules by empty ones.
 *
 * @param {RegExp} filter
 * @returns {import("esbuild").Plugin}
 */
export const without = (filter) => ({
  name: `without ${filter}`,
  setup: ({ onLoad }) => onLoad({ filter }, () => ({ contents: "module.exports = {}" }))
})
