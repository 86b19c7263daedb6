#!/usr/bin/env node
// Starts the program beside this file from V8's code cache, made when it was built: compiling the bundle takes longer
// than all else that a short command does. Another Node.js than the builder's can't use that cache, and falls back on
// its own, where it has one (node:module, 22.8).
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
    // Columns are the bundle's own, as its source map has them.
    columnOffset: -head.length,
    ...(cachedData && { cachedData })
  })
  // Made at the end, the cache holds the functions that a run needs, and not only those that V8 compiles at once.
  if (isBuild) process.on("exit", () => save(script.createCachedData()))
  else if (script.cachedDataRejected !== false) return false
  script.runInThisContext().call(module.exports, module.exports, require, module, bundle, __dirname)
  return true
}

if (!(cachedData || isBuild) || !start()) {
  const Module = require("node:module")
  if ("enableCompileCache" in Module && typeof Module.enableCompileCache === "function") Module.enableCompileCache()
  require(bundle)
}
