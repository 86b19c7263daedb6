// Builds dist/, which needs no other package to run. The programs: each one bundle, with SQLite beside it, and a launcher
// that starts it from V8's code cache. The library: the typed client and the domain's schemas, with their types. With
// --if-stale, the programs alone, and only when a source is newer than what was built.
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync
} from "node:fs"
import { basename, resolve } from "node:path"

const { build } = await import("esbuild").catch(() => {
  console.error("Error: cannot build Nexus: its build tools are not installed\n  Run npm ci in this folder first")
  process.exit(1)
})

const { version } = JSON.parse(readFileSync("package.json", "utf8"))
/** @type {ReadonlyArray<"nexusd" | "nexusctl">} */
const programs = ["nexusd", "nexusctl"]

/** What each program does once for its code cache: calls that get far and change nothing, to a port where nobody listens. */
const rehearsals = {
  nexusd: ["check", "--db", "/nowhere/nexus.db"],
  nexusctl: ["vm", "list", "--daemon", "127.0.0.1:1"]
}

// Made aside and put in place whole: another terminal may be running, or building, the same programs.
const made = `dist.${process.pid}.new`
const replaced = `dist.${process.pid}.old`

/** @type {import("esbuild").BuildOptions} */
const common = {
  bundle: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  charset: "ascii",
  define: { NEXUS_VERSION: JSON.stringify(version) },
  // A script from the code cache has no loader for import(); require does as well.
  supported: { "dynamic-import": false },
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: true,
  sourcesContent: false,
  logLevel: "warning"
}

/** What the daemon loads when it is wanted, each a bundle of its own: the docs page has 2 MB of script in it. */
const apart = { "src/http/handlers/DocsPage.ts": "docs-page.cjs", "src/runtime/Tracing.ts": "tracing.cjs" }

/** @type {import("esbuild").Plugin} */
const leaveApart = {
  name: "leave-apart",
  setup: ({ onResolve }) => {
    for (const [source, outfile] of Object.entries(apart)) {
      const filter = new RegExp(`/${basename(source, ".ts")}\\.js$`)
      onResolve({ filter }, () => ({ path: `./${outfile}`, external: true }))
    }
  }
}

/**
 * What speaks to PostgreSQL stays out of a daemon until its first use, which a daemon with SQLite never comes to. An
 * import() in the source would not do: esbuild then wraps every module that both sides share, which starts slower.
 */
const drivers = ["pg", "pg-connection-string", "pg-cursor"]
/** @param {string} name */
const onFirstUse = async (name) => {
  const { default: driver } = await import(name)
  const load = `require("./${name}.cjs")`
  return typeof driver === "function" && Object.keys(driver).length === 0
    ? `module.exports = function (...args) { return new (${load})(...args) }`
    : Object.keys(driver)
        .map((key) => `Object.defineProperty(exports, "${key}", { enumerable: true, get: () => ${load}.${key} })`)
        .join("\n")
}
/** @type {import("esbuild").Plugin} */
const driversApart = {
  name: "drivers-apart",
  setup: ({ onLoad, onResolve }) => {
    onResolve({ filter: new RegExp(`^(${drivers.join("|")})$`) }, ({ path }) => ({ path, namespace: "driver" }))
    onResolve({ filter: /^/, namespace: "driver" }, ({ path }) => ({ path, external: true }))
    onLoad({ filter: /^/, namespace: "driver" }, async ({ path }) => ({ contents: await onFirstUse(path) }))
  }
}

/** @type {import("esbuild").Plugin} */
const sqliteApart = {
  name: "sqlite-apart",
  setup: ({ onResolve }) => {
    onResolve({ filter: /^better-sqlite3/ }, ({ importer, path }) =>
      importer.includes("/@effect/sql-sqlite-node/")
        ? { path: resolve("src/services/sqlite/SqliteDriver.cjs") }
        : { path: `./${path}/lib/index.js`, external: true }
    )
  }
}

const isNodeApi10 = Number(process.versions.napi) >= 10
const compiled = "node_modules/better-sqlite3-node20/build/Release/better_sqlite3.node"

/** On a Node.js that better-sqlite3 13 does not support: compiles version 12, unless that is done. */
const compileSqlite = () => {
  if (isNodeApi10 || existsSync(compiled)) return
  console.error(`Compiling SQLite for Node.js ${process.versions.node}, which takes about a minute`)
  const rebuild = ["rebuild", "better-sqlite3-node20", "--ignore-scripts=false", "--foreground-scripts"]
  const { status, stdout, stderr } = spawnSync("npm", rebuild, { encoding: "utf8" })
  if (status === 0 && existsSync(compiled)) return
  console.error(`${stdout}${stderr}
Error: cannot compile SQLite for Node.js ${process.versions.node}
  Install a C++ compiler, make and Python 3, or use Node.js 22.14 or later, which needs none of them`)
  process.exit(1)
}

/** better-sqlite3 13 with its binaries for every platform and, built by an older Node.js, version 12 for that one alone. */
const copySqlite = async () => {
  /** @param {string} path */
  const copy = (path) => cpSync(`node_modules/${path}`, `${made}/${path}`, { recursive: true })
  for (const part of ["package.json", "LICENSE", "lib", "prebuilds"]) copy(`better-sqlite3/${part}`)
  if (isNodeApi10) return
  for (const part of ["package.json", "LICENSE"]) copy(`better-sqlite3-node20/${part}`)
  const folder = `${made}/better-sqlite3-node20/lib`
  await build({
    ...common,
    entryPoints: ["better-sqlite3-node20"],
    outfile: `${folder}/index.js`,
    external: ["*.node"],
    // In place of a package that looks for the addon relative to its caller's source.
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
  cpSync(compiled, `${folder}/better_sqlite3.node`)
}

const bundles = [
  ...Object.entries(apart).map(([source, outfile]) => ({ entryPoints: [source], outfile })),
  ...drivers.map((name) => ({ entryPoints: [name], outfile: `${name}.cjs`, external: ["pg-native"] })),
  {
    entryPoints: ["src/nexusd.ts"],
    outfile: "nexusd.bundle.cjs",
    plugins: [leaveApart, driversApart, sqliteApart]
  },
  // HttpApiClient asks every payload whether it is a FormData, and the first to name that global waits 20 ms for Node to
  // load its fetch: in this program no payload is one.
  { entryPoints: ["src/nexusctl.ts"], outfile: "nexusctl.bundle.cjs", inject: ["scripts/no-form-data.mjs"] }
]

/** The typed client and the domain's schemas, as modules that share what they have in common. */
const buildLibrary = async () => {
  await build({
    ...common,
    entryPoints: ["src/http/Client.ts", ...readdirSync("src/domain").map((name) => `src/domain/${name}`)],
    outbase: "src",
    outdir: `${made}/lib`,
    format: "esm",
    packages: "external",
    splitting: true,
    minifyWhitespace: false
  })
  const tsc = ["tsc", "-p", "tsconfig.types.json", "--outDir", `${made}/types`]
  const { status } = spawnSync("npx", tsc, { stdio: "inherit" })
  if (status !== 0) process.exit(1)
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
    isNodeApi10 ? "better-sqlite3" : "better-sqlite3-node20"
  ]
  return built.some((path) => changedAt(`dist/${path}`) < newest)
}

const putInPlace = () => {
  if (existsSync("dist")) renameSync("dist", replaced)
  try {
    renameSync(made, "dist")
  } catch (error) {
    // Another build was put in place in between, of the same sources.
    if (!existsSync("dist")) throw error
  }
  for (const folder of [made, replaced]) rmSync(folder, { recursive: true, force: true })
}

const ifStale = process.argv.includes("--if-stale")
compileSqlite()
if (!ifStale || isStale()) {
  if (!ifStale) await buildLibrary()
  await copySqlite()
  await Promise.all(
    bundles.map(({ outfile, ...bundle }) => build({ ...common, ...bundle, outfile: `${made}/${outfile}` }))
  )
  for (const program of programs) {
    const launcher = `${made}/${program}.cjs`
    copyFileSync("scripts/launcher.cjs", launcher)
    chmodSync(launcher, 0o755)
  }
  putInPlace()
  // The cache remembers the path that the bundle had when it was made.
  for (const program of programs) {
    spawnSync(process.execPath, [`dist/${program}.cjs`, ...rehearsals[program]], {
      env: { ...process.env, NEXUS_MAKE_CODE_CACHE: "1" },
      stdio: "ignore"
    })
  }
}
