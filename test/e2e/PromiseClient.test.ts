import { chmodSync } from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Nexus } from "../../src/client/Nexus.js"
import { connect, NexusError } from "../../src/client/PromiseClient.js"
import { startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"

const token = "a-token-of-thirty-two-characters"

/** The error of a call that must fail. */
const failureOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    (value) => Promise.reject(new Error(`succeeded with ${JSON.stringify(value)}`)),
    (error) => error
  )

const collect = async <A>(items: AsyncIterable<A>) => {
  const all: Array<A> = []
  for await (const item of items) all.push(item)
  return all
}

for (const kind of ["TCP", "a Unix socket and with a token"] as const) {
  describe(`the Promise client over ${kind}`, () => {
    const home = makeHome(afterAll)
    let nexus: Nexus
    let address: string

    beforeAll(async () => {
      const socket = `unix:${join(home.path, "nexus.sock")}`
      const isTcp = kind === "TCP"
      chmodSync(home.write("token", token), 0o600)
      const daemon = await startDaemon(home, {
        env: isTcp ? {} : { NEXUS_API_LISTEN: socket, NEXUS_API_TOKEN_FILE: "~/token" }
      })
      address = daemon.address
      nexus = connect(address, isTcp ? {} : { token })
    })
    afterAll(() => nexus.close())

    it("creates, reads, changes, replaces and deletes records", async () => {
      const web = await nexus.vms.create({ name: "web", vcpu_count: 2 })
      expect(web).toMatchObject({ name: "web", role: "work", state: "created", vcpu_count: 2, mem_size_mib: 128 })
      const tagged = await nexus.vms.getTagged(web.id)
      expect(tagged).toEqual({ vm: web, etag: expect.stringMatching(/^".+"$/) })
      const ifMatch = tagged.etag
      const changed = await nexus.vms.update("web", { mem_size_mib: 256 }, { ifMatch })
      expect(changed.mem_size_mib).toBe(256)
      expect(await failureOf(nexus.vms.delete("web", { ifMatch }))).toMatchObject({
        _tag: "PreconditionFailed",
        status: 412
      })
      expect(await nexus.vms.replace("web", { mem_size_mib: 256, vcpu_count: 2 })).toEqual(changed)
      expect(await failureOf(nexus.vms.replace("web", {}, { ifNoneMatch: "*" }))).toMatchObject({ status: 412 })
      expect(await nexus.vms.get("web")).toEqual(changed)
      expect(await nexus.health()).toMatchObject({ status: "ok", database: { table_count: 3 } })
      expect(await nexus.vms.wait("web", { state: ["created", "running"], timeout_s: 5 })).toEqual(changed)
      expect(await collect(nexus.vms.logs("web", { tail: 5 }))).toEqual([])
      await nexus.vms.delete("web")
      expect(await nexus.vms.list()).toEqual([])
    })

    it("lists all records that match, at once and page by page", async () => {
      for (let n = 0; n < 7; n++) await nexus.vms.create({ name: `vm-${n}`, role: n === 3 ? "service" : "work" })
      const all = await nexus.vms.list()
      expect(all.map(({ name }) => name)).toEqual([6, 5, 4, 3, 2, 1, 0].map((n) => `vm-${n}`))
      const work = all.filter(({ role }) => role === "work")
      expect(await nexus.vms.list({ role: "work", name_prefix: "vm-" })).toEqual(work)
      for (const pageSize of [1, 2, 6, 7, undefined]) {
        expect(await collect(nexus.vms.iterate({ role: "work" }, { pageSize }))).toEqual(work)
      }
      expect(await collect(nexus.vms.iterate({ name_prefix: "none" }))).toEqual([])
      for (const { name } of all) await nexus.vms.delete(name)
    })

    it("fails with errors that have a tag, a status and the daemon's words", async () => {
      await nexus.vms.create({ name: "dup" })
      const errors: ReadonlyArray<readonly [call: () => Promise<unknown>, expected: object]> = [
        [
          () => nexus.vms.create({ name: "dup" }),
          { _tag: "Conflict", status: 409, message: "VM name 'dup' already exists" }
        ],
        [() => nexus.vms.get("ghost"), { _tag: "NotFound", status: 404, message: "VM 'ghost' not found" }],
        [() => nexus.vms.stop("dup", { force: true }), { _tag: "Conflict", message: "VM 'dup' is not running" }],
        [() => nexus.vms.start("ghost"), { _tag: "NotFound" }],
        [
          () => nexus.vms.create({ name: "Bad", vcpu_count: 99 }),
          {
            _tag: "BadRequest",
            status: 400,
            message: expect.stringMatching(/^name: .*; vcpu_count: expected a whole number from 1 to 32, got 99$/),
            issues: [{ path: "name" }, { path: "vcpu_count" }]
          }
        ],
        [() => nexus.vms.wait("dup", { state: "stopped", timeout_s: 0 }), { _tag: "BadRequest", issues: [{}] }],
        [() => nexus.vms.wait("dup", { state: "stopped", timeout_s: 1 }), { _tag: "WaitTimeout", status: 408 }],
        [
          () => nexus.vms.delete("dup", { ifMatch: "unquoted" }),
          { _tag: "BadRequest", issues: [{ path: "if-match" }] }
        ],
        [() => nexus.vms.replace("a b", {}), { _tag: "BadRequest" }],
        [() => collect(nexus.vms.iterate({}, { pageSize: 1001 })), { _tag: "BadRequest", issues: [{ path: "limit" }] }],
        [() => collect(nexus.vms.logs("ghost")), { _tag: "NotFound", status: 404 }],
        [() => collect(nexus.vms.logs("dup", { tail: -1 })), { _tag: "BadRequest", issues: [{ path: "tail" }] }]
      ]
      for (const [call, expected] of errors) {
        const error = await failureOf(call())
        expect(error).toBeInstanceOf(NexusError)
        expect(error).toBeInstanceOf(Error)
        expect(error).toMatchObject(expected)
      }
      await nexus.vms.delete("dup")
    })

    it("is refused without the token", { skip: kind === "TCP" }, async () => {
      const other = connect(address, { token: `${token}-` })
      expect(await failureOf(other.health())).toMatchObject({ _tag: "Unauthorized", status: 401 })
    })

    it("gives calls up when their signal aborts, and can be used on", async () => {
      await nexus.vms.create({ name: "slow" })
      const controller = new AbortController()
      const wait = failureOf(nexus.vms.wait("slow", { state: "stopped" }, { signal: controller.signal }))
      await nexus.vms.get("slow")
      const reason = new Error("enough")
      controller.abort(reason)
      expect(await wait).toBe(reason)
      const { signal } = controller
      expect(await failureOf(nexus.vms.get("slow", { signal }))).toBe(reason)
      expect(await failureOf(collect(nexus.vms.iterate({}, { signal })))).toBe(reason)
      expect(await nexus.vms.list()).toHaveLength(1)
      await nexus.vms.delete("slow")
    })

    it("ends calls in progress when it is closed, and later ones", async () => {
      await nexus.vms.create({ name: "open" })
      const other = connect(address, kind === "TCP" ? {} : { token })
      await other.health()
      const wait = failureOf(other.vms.wait("open", { state: "stopped" }))
      await other.close()
      expect(await wait).toMatchObject({ _tag: "Closed", status: undefined })
      expect(await failureOf(other.health())).toMatchObject({ _tag: "Closed" })
      expect(await failureOf(collect(other.vms.iterate()))).toMatchObject({ _tag: "Closed" })
      await other.close()
      await nexus.vms.delete("open")
    })
  })
}

describe("the Promise client's streams of changes", () => {
  it("go on after a restart of nexusd, with what was missed", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const start = (port: number) => startDaemon(home, { env: { NEXUS_API_LISTEN: `127.0.0.1:${port}` } })
    const daemon = await start(await freePort())
    const nexus = connect(daemon.address)
    onTestFinished(() => nexus.close())
    const log: Array<string> = []
    const options = {
      onDisconnect: ({ _tag }: NexusError) => log.push(`lost: ${_tag}`),
      onReconnect: () => log.push("back")
    }
    const events = nexus.events(options)[Symbol.asyncIterator]()
    const changes = nexus.vms.watch({ role: "work" }, options)[Symbol.asyncIterator]()
    const ready = (await events.next()).value
    expect(ready).toEqual({ event: "ready", id: expect.any(String), data: {} })
    expect((await changes.next()).value).toEqual({ event: "listed", vms: [] })

    const web = await nexus.vms.create({ name: "web" })
    const created = (await events.next()).value
    expect(created).toEqual({ event: "created", id: expect.any(String), data: web })
    expect((await changes.next()).value).toEqual({ event: "created", vm: web })
    const resumed = nexus.events({ since: ready?.id })[Symbol.asyncIterator]()
    expect((await resumed.next()).value).toEqual(created)
    await resumed.return?.()

    await daemon.stop()
    expect(await failureOf(collect(nexus.events()))).toMatchObject({ _tag: "Unreachable" })
    expect(await failureOf(collect(nexus.vms.watch()))).toMatchObject({ _tag: "Unreachable" })
    await start(daemon.port)
    expect((await events.next()).value).toMatchObject({ event: "reset" })
    const changed = await nexus.vms.update("web", { vcpu_count: 2 })
    expect((await changes.next()).value).toEqual({ event: "updated", vm: changed, before: web })
    expect((await events.next()).value).toMatchObject({ event: "updated", data: changed })
    expect(log.sort()).toEqual(["back", "back", "lost: UnexpectedAnswer", "lost: UnexpectedAnswer"])

    const next = failureOf(events.next())
    await changes.return?.()
    await nexus.close()
    expect(await next).toMatchObject({ _tag: "Closed" })
  })
})

describe("the Promise client without an answer of nexusd", () => {
  it("says that nothing listens", async () => {
    const address = `127.0.0.1:${await freePort()}`
    const error = await failureOf(connect(address).health())
    expect(error).toMatchObject({ _tag: "Unreachable", status: undefined })
    expect(String(error)).toBe(`NexusError: cannot reach nexusd at ${address}: connection refused`)
    expect(await failureOf(connect("unix:/none/nexus.sock").health())).toMatchObject({
      _tag: "Unreachable",
      message: "cannot reach nexusd at unix:/none/nexus.sock: no such file or directory"
    })
  })

  it("says that the answer is none of nexusd's", async ({ onTestFinished }) => {
    const answers: ReadonlyArray<readonly [status: number, body: string, message: RegExp]> = [
      [200, "<html>", /^unexpected answer of 127\.0\.0\.1:\d+: /],
      [418, "{}", /: nexusd has no such answer$/],
      [304, "", /: 304 was not asked for$/],
      [404, "not found", /^unexpected answer of/]
    ]
    for (const [status, body, message] of answers) {
      const server = Http.createServer((_, response) => void response.writeHead(status).end(body))
      const { address } = await listen(server, onTestFinished)
      const error = await failureOf(connect(address).vms.get("web"))
      expect(error).toBeInstanceOf(NexusError)
      expect(error).toMatchObject({ _tag: "UnexpectedAnswer", message: expect.stringMatching(message) })
    }
  })

  it("says that an answer was cut off", async ({ onTestFinished }) => {
    const server = Http.createServer((_, response) => {
      response.writeHead(200, { "content-length": "100" })
      response.write("[", () => response.destroy())
    })
    const { address } = await listen(server, onTestFinished)
    expect(await failureOf(connect(address).vms.list())).toMatchObject({ _tag: "UnexpectedAnswer", status: 200 })
  })

  it("refuses an address that it can't read", () => {
    expect(() => connect("localhost")).toThrow(
      expect.objectContaining({ _tag: "InvalidAddress", message: expect.stringContaining("expected HOST:PORT") })
    )
  })
})
