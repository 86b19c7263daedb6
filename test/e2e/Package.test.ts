import { execFileSync, spawnSync } from "node:child_process"
import {
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, it } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"

const program = `
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { NexusClient } from "nexus/client"
import { Conflict } from "nexus/domain/Errors"
import { CreateVm, type Vm } from "nexus/domain/Vm"

const [host = "", port] = (process.argv[2] ?? "").split(":")
const create: Effect.Effect<Vm, unknown, NexusClient> = Effect.flatMap(NexusClient, ({ vms }) =>
  vms.create({ payload: CreateVm.make({ name: "packed" }) })
)
const main = Effect.gen(function* () {
  const vm = yield* create
  const again = yield* Effect.flip(create)
  console.log(vm.name, vm.cid, again instanceof Conflict ? again.message : "no conflict")
})
const client = NexusClient.layer({ host, port: Number(port) }).pipe(Layer.provide(NodeHttpClient.layer))
Effect.runPromise(Effect.provide(main, client))
`

const options = {
  module: "NodeNext",
  target: "ES2022",
  strict: true,
  exactOptionalPropertyTypes: true,
  types: ["node"],
  typeRoots: [join(process.cwd(), "node_modules/@types")]
}

/** The client's example in docs/api.md, for the daemon at `host` and `port`. */
const example = (host: string, port: string) => {
  const reference = readFileSync("docs/api.md", "utf8")
  const [, code = ""] = /```ts\n([^`]*nexus\/client[^`]*)```/.exec(reference) ?? []
  return code.replace('host: "127.0.0.1", port: 9600', `host: "${host}", port: ${port}`)
}

/** A folder with a PATH on which there is Node.js, npm and a shell, and neither a compiler, make nor Python. */
const toolFolder = (folder: string) => {
  const tools = join(folder, "tools")
  mkdirSync(tools)
  symlinkSync(process.execPath, join(tools, "node"))
  for (const tool of ["npm", "sh"]) {
    const path = execFileSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).trim()
    symlinkSync(realpathSync(path), join(tools, tool))
  }
  return tools
}

/** Runs npm as a user does: with install scripts, and without the settings of the npm that runs the tests. */
const npmIn = (tools: string, home: string) => {
  const settings = Object.entries(process.env).filter(([name]) => !/^npm_config_(?:ignore_scripts|prefix)/i.test(name))
  const env = { ...Object.fromEntries(settings), PATH: tools, HOME: home, npm_config_cache: npmCache() }
  return (cwd: string, ...args: ReadonlyArray<string>) =>
    execFileSync("npm", [...args, "--prefer-offline", "--no-audit", "--no-fund"], {
      cwd,
      env,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"]
    })
}
const npmCache = () => execFileSync("npm", ["config", "get", "cache"], { encoding: "utf8" }).trim()

it("the package installs without a compiler, with programs on the PATH and a typed client", {
  timeout: 240_000
}, async ({ onTestFinished }) => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-package-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const tools = toolFolder(folder)
  const npm = npmIn(tools, folder)
  // Without the build in `prepare`, which would replace dist/ under other tests.
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder]
  const [{ files, filename }] = JSON.parse(npm(process.cwd(), ...pack))
  const names = files.map(({ path }: { readonly path: string }) => path)
  expect(names).toEqual(
    expect.arrayContaining(["LICENSE", "README.md", "dist/nexusctl.1", "dist/nexusd.cjs", "packaging/nexus.service"])
  )
  expect(names.filter((name: string) => /^(src|test|scripts|docs)\//.test(name))).toEqual([])

  const home = makeHome(onTestFinished)
  const daemon = await startDaemon(home)
  const [host = "", port = ""] = daemon.address.split(":")
  const main = (name: string, code: string) => writeFileSync(join(folder, `${name}.ts`), code)
  const run = (...args: ReadonlyArray<string>) =>
    execFileSync(process.execPath, [join(folder, args[0] ?? ""), ...args.slice(1)], { encoding: "utf8" })
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "other", private: true, type: "module" }))
  const tsconfig = { compilerOptions: options, files: ["main.ts", "example.ts"] }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(tsconfig))
  main("main", program)
  main("example", example(host, port))
  npm(folder, "install", `./${filename}`)
  // Neither the package nor what it depends on brings SQLite to compile.
  expect(readdirSync(join(folder, "node_modules")).filter((name) => /sqlite/.test(name))).toEqual([])
  execFileSync(join(process.cwd(), "node_modules/.bin/tsc"), ["-p", folder], { encoding: "utf8" })
  expect(run("main.js", daemon.address)).toBe("packed 3 VM name 'packed' already exists\n")
  expect(run("example.js")).toMatch(/name: 'web'/)

  const prefix = join(folder, "global")
  npm(folder, "install", "--global", "--prefix", prefix, `./${filename}`)
  const installed = (name: string, ...args: ReadonlyArray<string>) =>
    execFileSync(join(prefix, "bin", name), args, { env: { PATH: tools, HOME: folder }, encoding: "utf8" })
  for (const name of ["nexusctl", "nxc"]) {
    expect(installed(name, "vm", "list", "--daemon", daemon.address)).toMatch(/^web .*\n^packed /m)
  }
  expect(readFileSync(join(prefix, "share/man/man1/nexusctl.1"), "utf8")).toMatch(/^\.TH NEXUSCTL 1 /)
  expect(lstatSync(join(prefix, "lib/node_modules/nexus")).isSymbolicLink()).toBe(false)
  const copy = join(folder, "copy.db")
  installed("nexusd", "backup", copy, "--db", join(home.path, "state/nexus/nexus.db"))
  expect(readFileSync(copy, "latin1")).toMatch(/^SQLite format 3/)
})

it("a build without its tools names the missing one", ({ onTestFinished }) => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-clone-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  for (const path of ["package.json", "scripts"]) cpSync(path, join(folder, path), { recursive: true })
  const { status, stderr } = spawnSync(process.execPath, ["scripts/build.mjs"], { cwd: folder, encoding: "utf8" })
  expect(stderr).toBe(
    "Error: cannot build Nexus: its build tools are not installed\n  Run npm ci in this folder first\n"
  )
  expect(status).toBe(1)
})
