#!/usr/bin/env node
// Starts the bundle in this folder from V8's code cache, since compiling it takes most of the time of a short command.
// The cache is made at build time, for that Node.js; another one uses its compile cache, if it has one (node:module, 22.8).
const { existsSync, readFileSync, renameSync, writeFileSync } = require("node:fs")
const { Script } = require("node:vm")

const bundle = __filename.replace(/\.cjs$/, ".bundle.cjs")
const cache = `${bundle}.cache`
const isBuild = process.env.NEXUS_MAKE_CODE_CACHE === "1"
const cachedData = existsSync(cache) && !isBuild ? readFileSync(cache) : undefined

/** @param {Buffer} data */
const save = (data) => {
  writeFileSync(`${cache}.${process.pid}`, data)
  renameSync(`${cache}.${process.pid}`, cache)
}

const start = () => {
  const head = "(function (exports, require, module, __filename, __dirname) {"
  const script = new Script(`${head}${readFileSync(bundle, "latin1")}\n})`, {
    filename: bundle,
    // Keeps the columns of the source map.
    columnOffset: -head.length,
    ...(cachedData && { cachedData })
  })
  if (isBuild) {
    // V8 rejects a cache that was made under other flags, and nexusd sets one while it runs.
    Object.assign(require("node:v8"), { setFlagsFromString: () => {} })
    // At exit the cache also holds the functions that V8 compiled during the run.
    process.on("exit", () => save(script.createCachedData()))
  } else if (script.cachedDataRejected !== false) return false
  script.runInThisContext().call(module.exports, module.exports, require, module, bundle, __dirname)
  return true
}

if (!(cachedData || isBuild) || !start()) {
  const Module = require("node:module")
  if ("enableCompileCache" in Module && typeof Module.enableCompileCache === "function") Module.enableCompileCache()
  require(bundle)
}
