import { Client } from "@modelcontextprotocol/sdk/client/index.js"
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js"
import { CallToolResultSchema } from "@modelcontextprotocol/sdk/types.js"
import * as Schema from "effect/Schema"
import { describe, expect, it } from "vitest"
import { runCli, startCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { type AtEnd, type Home, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { programs } from "../support/Programs.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { guestKernel, testVmms } from "../support/Vmms.js"

/** `nexusctl mcp` as a client starts it: the SDK's own, over stdio. */
const startMcp = async (atEnd: AtEnd, home: Home, address: string, ...args: ReadonlyArray<string>) => {
  const environment = Object.entries(home.env).filter((entry): entry is [string, string] => entry[1] !== undefined)
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [programs.nexusctl, "--daemon", address, "mcp", ...args],
    env: Object.fromEntries(environment),
    cwd: home.path,
    stderr: "pipe"
  })
  let stderr = ""
  transport.stderr?.on("data", (part) => {
    stderr += part
  })
  const client = new Client({ name: "nexus-test", version: "1" })
  /** Whatever is no message of the protocol, such as a stray line on stdout. */
  const problems: Array<string> = []
  client.onerror = ({ message }) => void problems.push(message)
  await client.connect(transport)
  // Its output schemas are cached: the client then checks each result against them.
  const { tools } = await client.listTools()
  atEnd(async () => {
    await client.close()
    expect(problems).toEqual([])
    expect(stderr).toBe("")
  })
  /** Calls a tool; returns what it answers, or the text of its error. */
  const use = async (name: string, args: object = {}) => {
    const result = await client.callTool({ name, arguments: { ...args } })
    const { content, isError, structuredContent } = CallToolResultSchema.parse(result)
    const text = content.map((part) => (part.type === "text" ? part.text : part.type)).join("\n")
    return isError ? { error: text } : { text, value: structuredContent }
  }
  return { client, tools, use }
}

const setUp = async ({ onTestFinished }: { readonly onTestFinished: AtEnd }, ...args: ReadonlyArray<string>) => {
  const home = makeHome(onTestFinished)
  const daemon = await startDaemon(home)
  return { home, daemon, ...(await startMcp(onTestFinished, home, daemon.address, ...args)) }
}

const decodeNames = Schema.decodeUnknownSync(
  Schema.Struct({ vms: Schema.Array(Schema.Struct({ name: Schema.String })) })
)

const readers = ["vm_list", "vm_inspect", "vm_logs", "vm_wait"]
const changers = ["vm_create", "vm_update", "vm_start", "vm_stop", "vm_delete"]

/** Runs a daemon on a port that it had before. */
const restartDaemon = (home: Home, { address }: Daemon) => startDaemon(home, { env: { NEXUS_API_LISTEN: address } })

describe.concurrent("nexusctl mcp", () => {
  it("introduces itself, and lists tools with schemas and hints", async (context) => {
    const { client, tools } = await setUp(context)
    expect(client.getServerVersion()).toMatchObject({ name: "nexus", title: "Nexus", version: "0.1.0" })
    expect(client.getServerCapabilities()).toEqual({ tools: {} })
    expect(client.getInstructions()).toContain("microVMs")
    expect(tools.map(({ name }) => name).sort()).toEqual([...readers, ...changers].sort())
    for (const { annotations, description, inputSchema, name, outputSchema, title } of tools) {
      expect(description, name).toMatch(/\.$/)
      expect(annotations, name).toMatchObject({ title, openWorldHint: false, readOnlyHint: readers.includes(name) })
      expect(inputSchema, name).toMatchObject({ type: "object", additionalProperties: false })
      expect(outputSchema, name).toMatchObject({ type: "object", properties: expect.any(Object) })
      expect(JSON.stringify(outputSchema), name).not.toContain('"additionalProperties":false')
    }
    const destructive = tools.filter(({ annotations }) => annotations?.destructiveHint).map(({ name }) => name)
    expect(destructive.sort()).toEqual(["vm_delete", "vm_stop", "vm_update"])
    // The schemas are the API's: bounds, words and defaults.
    const create = tools.find(({ name }) => name === "vm_create")?.inputSchema
    expect(create).toMatchObject({
      required: ["name"],
      properties: {
        name: { type: "string", pattern: expect.any(String) },
        role: { enum: ["portal", "work", "service"], default: "work" },
        vcpu_count: { type: "integer", minimum: 1, maximum: 32, default: 1 },
        mem_size_mib: { type: "integer", minimum: 1, maximum: 1048576, default: 128 }
      }
    })
    expect(tools.find(({ name }) => name === "vm_wait")?.inputSchema).toMatchObject({
      required: ["vm", "states"],
      properties: { timeout_s: { minimum: 1, maximum: 600, default: 30 } }
    })
    expect(tools.find(({ name }) => name === "vm_stop")?.inputSchema.properties).not.toHaveProperty("host_lost")
  })

  it("creates, lists, shows, changes and deletes records", async (context) => {
    const { daemon, use } = await setUp(context)
    const created = await use("vm_create", { name: "web", role: "portal", vcpu_count: 2 })
    const record = { name: "web", role: "portal", vcpu_count: 2, mem_size_mib: 128, state: "created", cid: 3 }
    expect(created.value).toMatchObject(record)
    // For clients that know no structured results.
    expect(JSON.parse(`${created.text}`)).toEqual(created.value)
    expect(await listVms(daemon)).toEqual([created.value])
    expect((await use("vm_inspect", { vm: "web" })).value).toEqual(created.value)
    expect((await use("vm_inspect", { vm: created.value?.["id"] })).value).toEqual(created.value)
    expect((await use("vm_update", { vm: "web", name: "shop", mem_size_mib: 256 })).value).toMatchObject({
      ...record,
      name: "shop",
      mem_size_mib: 256
    })
    expect((await use("vm_logs", { vm: "shop" })).value).toEqual({ log: "" })
    expect((await use("vm_wait", { vm: "shop", states: ["created"] })).value).toMatchObject({ name: "shop" })
    expect((await use("vm_delete", { vm: "shop" })).value).toEqual({ deleted: "shop" })
    expect((await use("vm_list")).value).toEqual({ vms: [] })
    expect(await listVms(daemon)).toEqual([])
  })

  it("lists page by page, and with filters", async (context) => {
    const { daemon, use } = await setUp(context)
    for (const name of ["a-1", "a-2", "b-1"]) await createVm(daemon, name, { role: name === "a-1" ? "portal" : "work" })
    const namesIn = ({ value }: { readonly value?: unknown }) => decodeNames(value).vms.map(({ name }) => name)
    const first = await use("vm_list", { limit: 2 })
    expect(namesIn(first)).toEqual(["b-1", "a-2"])
    const second = await use("vm_list", { limit: 2, cursor: first.value?.["next_cursor"] })
    expect(namesIn(second)).toEqual(["a-1"])
    expect(second.value).not.toHaveProperty("next_cursor")
    expect(namesIn(await use("vm_list", { name_prefix: "a-" }))).toEqual(["a-2", "a-1"])
    expect(namesIn(await use("vm_list", { role: "portal", state: "created" }))).toEqual(["a-1"])
  })

  it("answers with the daemon's own message where a call fails, as a tool's error", async (context) => {
    const { client, use } = await setUp(context)
    await use("vm_create", { name: "web" })
    expect(await use("vm_create", { name: "web" })).toEqual({
      error: `cannot create VM "web"\nVM name 'web' already exists`
    })
    expect(await use("vm_inspect", { vm: "ghost" })).toEqual({ error: 'VM "ghost" not found' })
    expect(await use("vm_stop", { vm: "web" })).toEqual({ error: `cannot stop VM "web"\nVM 'web' is not running` })
    expect(await use("vm_start", { vm: "web" })).toEqual({
      error: expect.stringContaining(`cannot start VM "web"\ncannot start VM 'web': `)
    })
    expect(await use("vm_wait", { vm: "web", states: ["running"], timeout_s: 1 })).toEqual({
      error: expect.stringContaining("VM 'web' is created, and was not running within 1s")
    })
    // What the schemas refuse is not sent.
    expect(await use("vm_create", { name: "Bad_Name", vcpu_count: 99, colour: "red" })).toEqual({
      error: expect.stringMatching(/name: "Bad_Name" is not a VM name.*vcpu_count: expected.*1 to 32, got 99/s)
    })
    expect((await use("vm_create", { name: "db", colour: "red" })).error).toContain("colour")
    expect((await use("vm_inspect")).error).toContain("vm: ")
    await expect(client.callTool({ name: "vm_explode", arguments: {} })).rejects.toThrow("there is no tool vm_explode")
  })

  it("--read-only leaves out what changes something", async (context) => {
    const { client, daemon, tools, use } = await setUp(context, "--read-only")
    expect(tools.map(({ name }) => name).sort()).toEqual([...readers].sort())
    await createVm(daemon, "web")
    expect((await use("vm_list")).value).toMatchObject({ vms: [{ name: "web" }] })
    for (const name of changers) {
      await expect(client.callTool({ name, arguments: { vm: "web", name: "db" } }), name).rejects.toThrow("no tool")
    }
    expect((await listVms(daemon)).map(({ name, state }) => [name, state])).toEqual([["web", "created"]])
  })

  it("stays while the daemon is down, and works again once it is back", async (context) => {
    const { daemon, home, use } = await setUp(context)
    await use("vm_create", { name: "web" })
    await daemon.stop()
    for (const [name, args] of [
      ["vm_list", {}],
      ["vm_inspect", { vm: "web" }],
      ["vm_create", { name: "db" }]
    ] as const) {
      expect(await use(name, args)).toEqual({
        error: `cannot connect to Nexus daemon at ${daemon.address}\nThe daemon does not appear to be running.\nStart it: systemctl --user start nexus.service`
      })
    }
    await restartDaemon(home, daemon)
    expect((await use("vm_list")).value).toMatchObject({ vms: [{ name: "web" }] })
  })

  it("starts without a daemon, and ends when its client closes stdin", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const running = startCli(home, ["--daemon", `127.0.0.1:${await freePort()}`, "mcp"], { stdin: "open" })
    const initialize = {
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } }
    }
    running.child.stdin?.write(`this is no message\n${JSON.stringify(initialize)}\n`)
    await expect.poll(() => running.said.stdout, { timeout: 60_000 }).toContain("serverInfo")
    running.child.stdin?.end()
    const { code, stderr, stdout } = await running.ended
    expect(code).toBe(0)
    // Stdout has the protocol alone; what is wrong is logged to stderr.
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
    ).toMatchObject([{ id: 1, jsonrpc: "2.0" }])
    expect(stderr).toMatch(/^nexusctl mcp: .*JSON/)
  })

  it("refuses settings that can't be used before it serves", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    home.write("config/nexusctl/config.yaml", "deamon: 127.0.0.1:9600\n")
    const { code, stderr, stdout } = await runCli(home, ["mcp"])
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toContain("deamon")
  })

  for (const { env, isUsable, name: vmm } of testVmms) {
    it.skipIf(!isUsable)(`starts, reads, waits for and stops a VM under ${vmm}`, async ({ expect, onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const daemon = await startDaemon(home, { env })
      const { use } = await startMcp(onTestFinished, home, daemon.address)
      const config_json = JSON.stringify({ "boot-source": { kernel_image_path: guestKernel } })
      await use("vm_create", { name: "web", config_json })
      const started = await use("vm_start", { vm: "web" })
      expect(started.value).toMatchObject({ name: "web", state: "running", vmm, pid: expect.any(Number) })
      expect(await use("vm_start", { vm: "web" })).toEqual({
        error: `cannot start VM "web"\nVM 'web' is already running`
      })
      expect(await use("vm_delete", { vm: "web" })).toEqual({
        error: `cannot delete VM "web"\ncannot delete VM 'web': VM is running, stop it first`
      })
      await expect.poll(async () => (await use("vm_logs", { vm: "web" })).text).toContain("GUEST-UP")
      const waited = use("vm_wait", { vm: "web", states: ["stopped", "crashed"] })
      expect((await use("vm_stop", { vm: "web", timeout_s: 20 })).value).toMatchObject({ state: "stopped" })
      expect((await waited).value).toMatchObject({ name: "web", state: "stopped" })
      expect((await use("vm_delete", { vm: "web" })).value).toEqual({ deleted: "web" })
      expect(await call(daemon, "GET", "/v1/vms/web")).toMatchObject({ status: 404 })
    })
  }
})
