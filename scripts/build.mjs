// Builds dist/, which runs without node_modules:
// - nexusd and nexusctl: a bundle each, started from V8's code cache by launcher.cjs; SQLite and what is loaded on first
//   use are separate files;
// - lib/ and types/: the clients for programs and the domain's schemas;
// - nexusctl.1: the man page, from the definitions of the commands.
//
// node scripts/build.mjs [--if-stale]
//
// --if-stale builds the programs only, and only if a source is newer than dist/.
import { spawn, spawnSync } from "node:child_process"
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { basename, join, resolve } from "node:path"
import { prompts, unusedByClients, without } from "./unused-modules.mjs"

const [{ build }, { buildWebPage }] = await Promise.all([import("esbuild"), import("./web.mjs")]).catch(() => {
  console.error("Error: cannot build Nexus: its build tools are not installed\n  Run npm ci in this folder first")
  process.exit(1)
})

const { dependencies, version } = JSON.parse(readFileSync("package.json", "utf8"))
/** @type {ReadonlyArray<"nexusd" | "nexusctl">} */
const programs = ["nexusd", "nexusctl"]

// Another terminal may run or build the same programs: dist/ is built in a new folder and replaced by two renames.
const newDist = `dist.${process.pid}.new`
const oldDist = `dist.${process.pid}.old`

/** @type {import("esbuild").BuildOptions} */
const commonOptions = {
  bundle: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  charset: "ascii",
  define: { NEXUS_VERSION: JSON.stringify(version) },
  // A script from the code cache can't use import().
  supported: { "dynamic-import": false },
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: true,
  sourcesContent: false,
  logLevel: "warning"
}

/** Modules that a program loads on first use. The docs page holds 2 MB of script, the tools for agents 1 MB. */
const lazyModules = {
  "src/cli/nexusctl/mcp/McpServer.ts": "mcp.cjs",
  "src/http/handlers/DocsPage.ts": "docs-page.cjs",
  "src/runtime/PrometheusExporter.ts": "prometheus-exporter.cjs",
  "src/http/handlers/WebAssets.ts": "web-assets.cjs",
  "src/runtime/Otlp.ts": "otlp.cjs"
}

/** @type {import("esbuild").Plugin} */
const lazyModulesPlugin = {
  name: "lazy-modules",
  setup: ({ onResolve }) => {
    for (const [source, outfile] of Object.entries(lazyModules)) {
      const filter = new RegExp(`/${basename(source, ".ts")}\\.js$`)
      onResolve({ filter }, () => ({ path: `./${outfile}`, external: true }))
    }
  }
}

/**
 * Packages for PostgreSQL, loaded on first use: a daemon with SQLite never loads them. import() in the source starts slower,
 * since esbuild then wraps every module that both sides import.
 */
const lazyPackages = ["pg", "pg-connection-string", "pg-cursor"]

/** Modules of Node.js that a common command does not use. Loading them takes 4 ms. */
const lazyBuiltins = ["node:child_process", "node:crypto", "node:https", "node:readline"]

/**
 * The source of a module with a module's exports, which loads that one when one of them is used.
 *
 * @param {string} name
 */
const lazySource = async (name) => {
  const { default: exported } = await import(name)
  const load = `require("${lazyBuiltins.includes(name) ? name : `./${name}.cjs`}")`
  return typeof exported === "function" && Object.keys(exported).length === 0
    ? `module.exports = function (...args) { return new (${load})(...args) }`
    : Object.keys(exported)
        .map((key) => `Object.defineProperty(exports, "${key}", { enumerable: true, get: () => ${load}.${key} })`)
        .join("\n")
}

/**
 * @param {ReadonlyArray<string>} names
 * @returns {import("esbuild").Plugin}
 */
const lazyPlugin = (names) => ({
  name: "lazy",
  setup: ({ onLoad, onResolve }) => {
    onResolve({ filter: new RegExp(`^(${names.join("|")})$`) }, ({ namespace, path }) =>
      namespace === "lazy" ? { path, external: true } : { path, namespace: "lazy" }
    )
    onResolve({ filter: /^/, namespace: "lazy" }, ({ path }) => ({ path, external: true }))
    onLoad({ filter: /^/, namespace: "lazy" }, async ({ path }) => ({ contents: await lazySource(path) }))
  }
})

/** @type {import("esbuild").Plugin} */
const sqlitePlugin = {
  name: "sqlite",
  setup: ({ onResolve }) => {
    onResolve({ filter: /^better-sqlite3/ }, ({ importer, path }) =>
      importer.includes("/@effect/sql-sqlite-node/")
        ? { path: resolve("src/services/sqlite/SqliteDriver.cjs") }
        : { path: `./${path}/lib/index.js`, external: true }
    )
  }
}

/** Whether this Node.js runs better-sqlite3 13, which brings its binaries. */
const hasNodeApi10 = Number(process.versions.napi) >= 10
const compiledAddon = "node_modules/better-sqlite3-node20/build/Release/better_sqlite3.node"

/** Compiles better-sqlite3 12 for a Node.js that version 13 does not support, unless it is compiled already. */
const compileSqlite = () => {
  if (hasNodeApi10 || existsSync(compiledAddon)) return
  console.error(`Compiling SQLite for Node.js ${process.versions.node}, which takes about a minute`)
  const rebuild = ["rebuild", "better-sqlite3-node20", "--ignore-scripts=false", "--foreground-scripts"]
  const { status, stdout, stderr } = spawnSync("npm", rebuild, { encoding: "utf8" })
  if (status === 0 && existsSync(compiledAddon)) return
  console.error(`${stdout}${stderr}
Error: cannot compile SQLite for Node.js ${process.versions.node}
  Install a C++ compiler, make and Python 3, or use Node.js 22.14 or later, which needs none of them`)
  process.exit(1)
}

/** Copies better-sqlite3 13 with its binaries for all platforms and, on an older Node.js, version 12 compiled for it. */
const copySqlite = async () => {
  /** @param {string} path */
  const copy = (path) => cpSync(`node_modules/${path}`, `${newDist}/${path}`, { recursive: true })
  for (const part of ["package.json", "LICENSE", "lib", "prebuilds"]) copy(`better-sqlite3/${part}`)
  if (hasNodeApi10) return
  for (const part of ["package.json", "LICENSE"]) copy(`better-sqlite3-node20/${part}`)
  const folder = `${newDist}/better-sqlite3-node20/lib`
  await build({
    ...commonOptions,
    entryPoints: ["better-sqlite3-node20"],
    outfile: `${folder}/index.js`,
    external: ["*.node"],
    // Replaces the package that looks for the addon relative to its caller's source.
    plugins: [
      {
        name: "addon",
        setup: ({ onLoad, onResolve }) => {
          onResolve({ filter: /^bindings$/ }, ({ path }) => ({ path, namespace: "addon" }))
          onLoad({ filter: /^/, namespace: "addon" }, () => ({
            contents: `module.exports = () => require("./better_sqlite3.node")`
          }))
        }
      }
    ]
  })
  cpSync(compiledAddon, `${folder}/better_sqlite3.node`)
}

/** @param {Awaited<ReturnType<typeof buildWebPage>>} webAssets */
const bundles = (webAssets) => [
  ...Object.entries(lazyModules).map(([source, outfile]) => ({
    entryPoints: [source],
    outfile,
    define: { ...commonOptions.define, NEXUS_WEB_ASSETS: JSON.stringify(webAssets) }
  })),
  ...lazyPackages.map((name) => ({ entryPoints: [name], outfile: `${name}.cjs`, external: ["pg-native"] })),
  {
    entryPoints: ["src/nexusd.ts"],
    outfile: "nexusd.bundle.cjs",
    define: { ...commonOptions.define, NEXUS_WEB_PATHS: JSON.stringify(webAssets.map(({ path }) => path)) },
    plugins: [lazyModulesPlugin, lazyPlugin(lazyPackages), without(prompts), sqlitePlugin]
  },
  // HttpApiClient tests each payload with `instanceof FormData`. The first use of that global loads Node's fetch, which
  // takes 20 ms; nexusctl sends no FormData.
  {
    entryPoints: ["src/nexusctl.ts"],
    outfile: "nexusctl.bundle.cjs",
    inject: ["scripts/no-form-data.mjs"],
    plugins: [lazyModulesPlugin, lazyPlugin(lazyBuiltins), without(prompts), without(unusedByClients)]
  }
]

/**
 * Builds the clients for programs and the domain's schemas: modules that share chunks, and their types. Only what their
 * types name is left to be installed; of the other packages the modules hold what they use.
 */
const buildLibrary = async () => {
  await build({
    ...commonOptions,
    entryPoints: [
      "src/http/Client.ts",
      "src/client/NodeClient.ts",
      "src/client/PromiseClient.ts",
      ...readdirSync("src/domain").map((name) => `src/domain/${name}`)
    ],
    outbase: "src",
    outdir: `${newDist}/lib`,
    format: "esm",
    external: Object.keys(dependencies),
    splitting: true,
    minifyWhitespace: false
  })
  const tsc = ["tsc", "-p", "tsconfig.types.json", "--outDir", `${newDist}/types`]
  const { status } = spawnSync("npx", tsc, { stdio: "inherit" })
  if (status !== 0) process.exit(1)
}

/** Writes the man page. The default paths in it begin with `~`. */
const buildManPage = async () => {
  const contents = `import { text } from "./src/cli/nexusctl/ManPage.js"; process.stdout.write(text())`
  const { outputFiles } = await build({
    ...commonOptions,
    stdin: { contents, resolveDir: "." },
    plugins: [lazyModulesPlugin],
    sourcemap: false,
    write: false
  })
  const env = { PATH: process.env["PATH"], HOME: "~" }
  const { status, stdout } = spawnSync(process.execPath, ["-"], {
    env,
    input: outputFiles[0]?.text ?? "",
    stdio: ["pipe", "pipe", "inherit"]
  })
  if (status !== 0) process.exit(1)
  writeFileSync(`${newDist}/nexusctl.1`, stdout)
}

/** @param {string} path */
const changedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0

const isStale = () => {
  const sources = ["src", "scripts"].flatMap((folder) =>
    readdirSync(folder, { recursive: true }).map((path) => `${folder}/${path}`)
  )
  const newest = Math.max(...[...sources, "package.json", "package-lock.json"].map(changedAt))
  const built = [
    ...programs.map((program) => `${program}.cjs`),
    hasNodeApi10 ? "better-sqlite3" : "better-sqlite3-node20"
  ]
  return built.some((path) => changedAt(`dist/${path}`) < newest)
}

const replaceDist = () => {
  if (existsSync("dist")) renameSync("dist", oldDist)
  try {
    renameSync(newDist, "dist")
  } catch (error) {
    // Another build of the same sources was faster.
    if (!existsSync("dist")) throw error
  }
  for (const folder of [newDist, oldDist]) rmSync(folder, { recursive: true, force: true })
}

/** Runs each program once, so that its code cache holds the functions of starting and of common calls. */
const makeCodeCaches = async () => {
  const home = mkdtempSync(join(tmpdir(), "nexus-build-"))
  const env = { PATH: process.env["PATH"], HOME: home, NEXUS_API_LISTEN: "127.0.0.1:0", NEXUS_MAKE_CODE_CACHE: "1" }
  /** @param {ReadonlyArray<string>} args */
  const start = (...args) => spawn(process.execPath, args, { env, stdio: ["ignore", "ignore", "pipe"] })
  /** @param {import("node:child_process").ChildProcess} child */
  const end = (child) => new Promise((resolve) => child.once("close", resolve))

  const daemon = start("dist/nexusd.cjs")
  const ended = end(daemon)
  let log = ""
  /** @type {string} */
  const address = await new Promise((resolve, reject) => {
    ended.then(() => reject(new Error(`nexusd does not start: ${log}`)))
    daemon.stderr?.setEncoding("utf8").on("data", (text) => {
      log += text
      const [, found] = /listening on http:\/\/([\d.:]+)/.exec(log) ?? []
      if (found !== undefined) resolve(found)
    })
  })
  for (const command of ["vm create web", "vm list"]) {
    await end(start("dist/nexusctl.cjs", "--daemon", address, ...command.split(" ")))
  }
  daemon.kill()
  await ended
  rmSync(home, { recursive: true })
}

const isIfStale = process.argv.includes("--if-stale")
compileSqlite()
if (!isIfStale || isStale()) {
  if (!isIfStale) await buildLibrary()
  await copySqlite()
  if (!isIfStale) await buildManPage()
  const webAssets = await buildWebPage(version)
  await Promise.all(
    bundles(webAssets).map(({ outfile, ...bundle }) =>
      build({ ...commonOptions, ...bundle, outfile: `${newDist}/${outfile}` })
    )
  )
  for (const program of programs) {
    const launcher = `${newDist}/${program}.cjs`
    copyFileSync("scripts/launcher.cjs", launcher)
    chmodSync(launcher, 0o755)
  }
  replaceDist()
  // After the rename, since the cache holds the path of the bundle.
  await makeCodeCaches()
}
