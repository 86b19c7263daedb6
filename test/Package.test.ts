import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, it } from "vitest"
import { makeHome, startDaemon } from "./support/Processes.js"

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
  console.log(vm.name, vm.cid, again instanceof Conflict ? again.error : "no conflict")
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

it("the packed package serves a program of another project, types and all", { timeout: 240_000 }, async ({
  onTestFinished
}) => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-package-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  // --ignore-scripts: it was built already, and the client needs nothing native.
  const npm = (cwd: string, ...args: ReadonlyArray<string>) =>
    execFileSync("npm", [...args, "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"], {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"]
    })
  const [{ files, filename }] = JSON.parse(npm(process.cwd(), "pack", "--json", "--pack-destination", folder))
  const names = files.map(({ path }: { readonly path: string }) => path)
  expect(names).toEqual(expect.arrayContaining(["LICENSE", "README.md", "dist/nexusd.cjs", "packaging/nexus.service"]))
  expect(names.filter((name: string) => /^(src|test|scripts|docs)\//.test(name))).toEqual([])

  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "other", private: true, type: "module" }))
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["main.ts"] }))
  writeFileSync(join(folder, "main.ts"), program)
  npm(folder, "install", `./${filename}`)
  execFileSync(join(process.cwd(), "node_modules/.bin/tsc"), ["-p", folder], { encoding: "utf8" })

  const daemon = await startDaemon(makeHome(onTestFinished))
  const output = execFileSync(process.execPath, [join(folder, "main.js"), daemon.address], { encoding: "utf8" })
  expect(output).toBe("packed 3 VM name 'packed' already exists\n")
  const version = execFileSync(join(folder, "node_modules/.bin/nxc"), ["--version"], { encoding: "utf8" })
  expect(version).toMatch(/^nexusctl \d+\.\d+\.\d+\n$/)
})
