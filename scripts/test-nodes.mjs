// Runs the tests on other versions of Node.js, each in a copy of this folder with packages installed by that version.
//
// node scripts/test-nodes.mjs [--node MAJOR]... [VITEST ARGUMENT]...
//
// Prints a line for each version on stdout, and everything else on stderr. Exit codes: 0 all passed, 77 no version could be
// fetched, 1 anything else. Leaves Vitest's reports as test-report-node<MAJOR>.json.
import { spawnSync } from "node:child_process"
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join, resolve } from "node:path"

const majors = []
const vitestArguments = process.argv.slice(2)
while (vitestArguments[0] === "--node") majors.push(...vitestArguments.splice(0, 2).slice(1))
if (majors.length === 0) majors.push("22", "24", "26")

/** Without the variables by which npm describes the script that runs this one. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^npm_(?:lifecycle|package|command|execpath|node_execpath|config_local_prefix)/.test(name)
  )
)

/**
 * Runs a command with its output on stderr.
 *
 * @param {string} cwd
 * @param {NodeJS.ProcessEnv} env
 * @param {[string, ...ReadonlyArray<string>]} command
 */
const succeeds = (cwd, env, [name, ...args]) =>
  spawnSync(name, args, { cwd, env, stdio: ["ignore", 2, 2] }).status === 0

/**
 * Returns the folder of a Node.js from npm's registry: the newest of its major version, or the one fetched last if the
 * registry can't be reached.
 *
 * @param {string} major
 */
const fetchNode = (major) => {
  const cache = resolve("node_modules/.cache/nexus")
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, `node${major}-`))
  const name = `node-${process.platform}-${process.arch}@${major}`
  const pack = spawnSync("npm", ["pack", "--silent", "--pack-destination", folder, name], {
    cwd: tmpdir(),
    env: environment
  })
  const archive = String(pack.stdout).trim()
  const isUnpacked =
    pack.status === 0 && succeeds(folder, environment, ["tar", "-xzf", archive, "--strip-components=1"])
  const kept = join(cache, `node${major}`)
  if (isUnpacked) {
    rmSync(kept, { recursive: true, force: true })
    cpSync(folder, kept, { recursive: true })
  }
  rmSync(folder, { recursive: true, force: true })
  return existsSync(join(kept, "bin/node")) ? kept : undefined
}

/** Whether a fresh clone has the file. */
const isFresh = (/** @type {string} */ path) => !/^(?:\.git|node_modules|dist.*|test-report.*|.*\.tgz)$/.test(path)

/** @param {string} major */
const testOn = (major) => {
  const report = `test-report-node${major}.json`
  rmSync(report, { force: true })
  const node = fetchNode(major)
  if (node === undefined) return { line: `Node.js ${major}: skipped, since npm can't fetch it`, code: 77 }

  const bin = join(node, "bin")
  const env = { ...environment, CI: "true", PATH: `${bin}${delimiter}${environment["PATH"]}`, npm_config_nodedir: node }
  const version = String(spawnSync(join(bin, "node"), ["--version"]).stdout)
    .trim()
    .slice(1)
  const copy = mkdtempSync(join(tmpdir(), `nexus-node${major}-`))
  try {
    const root = resolve(".")
    cpSync(root, copy, { recursive: true, filter: (path) => path === root || isFresh(path.slice(root.length + 1)) })
    const isBuilt = succeeds(copy, env, ["npm", "ci"]) && succeeds(copy, env, ["npm", "run", "build"])
    if (!isBuilt) return { line: `Node.js ${version}: cannot be installed or built`, code: 1 }
    const hasPassed = succeeds(copy, env, ["npx", "vitest", "run", ...vitestArguments])
    if (!existsSync(join(copy, "test-report.json")))
      return { line: `Node.js ${version}: the tests ended early`, code: 1 }
    copyFileSync(join(copy, "test-report.json"), report)
    const { numFailedTests, numPassedTests } = JSON.parse(readFileSync(report, "utf8"))
    const line = `Node.js ${version}: ${numPassedTests} passed, ${numFailedTests} failed`
    return {
      line: hasPassed || numFailedTests > 0 ? line : `${line}, but Vitest ended with an error`,
      code: hasPassed ? 0 : 1
    }
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

const codes = majors.map((major) => {
  const { code, line } = testOn(major)
  console.log(line)
  return code
})
process.exitCode = codes.includes(1) ? 1 : codes.every((code) => code === 77) ? 77 : 0
