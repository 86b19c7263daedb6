import { spawnSync } from "node:child_process"
import { cpSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { installPackage } from "../support/PackedPackage.js"

/** Uses the client over another `HttpClient` than Node.js's. */
const program = `
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
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
const client = NexusClient.layer({ host, port: Number(port) }).pipe(Layer.provide(FetchHttpClient.layer))
Effect.runPromise(Effect.provide(main, client))
`

/** The programs in docs/client.md, and what the page says that they print. */
const examples = Array.from(
  readFileSync("docs/client.md", "utf8").matchAll(/```ts\n(.*?)```\n(?:\nprints\n\n```text\n(.*?)```)?/gs),
  ([, code = "", output], index) => ({ name: `example-${index}`, code, output })
)

/** A program of the page, for the daemon at `address`. */
const forDaemon = (code: string, { address, port }: Daemon) =>
  code.replace('"127.0.0.1:9600"', `"${address}"`).replace("port: 9600", `port: ${port}`)

describe("the package", { timeout: 240_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-package-"))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const home = makeHome(afterAll)
  let daemon: Daemon
  let installed: Awaited<ReturnType<typeof installPackage>>

  beforeAll(async () => {
    installed = await installPackage(folder)
    daemon = await startDaemon(home)
  })

  it("holds programs, documents and the clients", () => {
    expect(installed.files).toEqual(
      expect.arrayContaining(["LICENSE", "README.md", "dist/nexusctl.1", "dist/nexusd.cjs", "packaging/nexus.service"])
    )
    expect(installed.files.filter((name) => /^(src|test|scripts|docs)\//.test(name))).toEqual([])
    // Neither the package nor what it depends on brings SQLite to compile.
    expect(readdirSync(join(folder, "node_modules")).filter((name) => /sqlite/.test(name))).toEqual([])
  })

  it("has typed clients for programs; those of docs/client.md print what it says", async () => {
    const sources = examples.map(({ code, name }) => [name, forDaemon(code, daemon)])
    const run = await installed.compile({ main: program, ...Object.fromEntries(sources) })
    expect(examples.length).toBeGreaterThanOrEqual(2)
    for (const { name, output } of examples) expect(await run(name)).toBe(output)
    expect(await run("main", daemon.address)).toBe("packed 3 VM name 'packed' already exists\n")
  })

  it("installs its programs globally", async () => {
    const prefix = join(folder, "global")
    const run = await installed.installGlobally(prefix)
    for (const name of ["nexusctl", "nxc"]) {
      expect(await run(name, "vm", "list", "--daemon", daemon.address)).toMatch(/^packed /m)
    }
    expect(readFileSync(join(prefix, "share/man/man1/nexusctl.1"), "utf8")).toMatch(/^\.TH NEXUSCTL 1 /)
    expect(lstatSync(join(prefix, "lib/node_modules/nexus")).isSymbolicLink()).toBe(false)
    const copy = join(folder, "copy.db")
    await run("nexusd", "backup", copy, "--db", join(home.path, "state/nexus/nexus.db"))
    expect(readFileSync(copy, "latin1")).toMatch(/^SQLite format 3/)
  })
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
