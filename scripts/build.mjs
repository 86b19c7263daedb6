// Builds the programs into dist/: each one file, with the native addon left outside.
// With --if-stale, only when a source is newer than what was built.
import { chmodSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { build } from "esbuild"

const programs = ["nexusd", "nexusctl"]
const out = (/** @type {string} */ program) => `dist/${program}.cjs`
const { version } = JSON.parse(readFileSync("package.json", "utf8"))

/** @param {string} path */
const changedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0

const isStale = () => {
  const sources = readdirSync("src", { recursive: true }).map((path) => `src/${path}`)
  const newest = Math.max(...[...sources, "package-lock.json", "package.json", "scripts/build.mjs"].map(changedAt))
  return programs.some((program) => changedAt(out(program)) < newest)
}

if (!process.argv.includes("--if-stale") || isStale()) {
  rmSync("dist", { recursive: true, force: true })
  await Promise.all(
    programs.map((program) =>
      build({
        entryPoints: [`src/${program}.ts`],
        outfile: out(program),
        bundle: true,
        platform: "node",
        target: "node20",
        format: "cjs",
        external: ["better-sqlite3"],
        define: { NEXUS_VERSION: JSON.stringify(version) },
        banner: { js: "#!/usr/bin/env node" },
        sourcemap: true,
        minifySyntax: true,
        minifyWhitespace: true,
        logLevel: "warning"
      })
    )
  )
  for (const program of programs) chmodSync(out(program), 0o755)
}
