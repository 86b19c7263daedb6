import * as Http from "node:http"
import { afterAll, describe, expect, it } from "vitest"
import { failed, printed, runCli } from "../support/Cli.js"
import { connect } from "../support/Connection.js"
import { startDaemon } from "../support/Daemon.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import type { Answer } from "../support/HttpBytes.js"
import { listen } from "../support/LocalServer.js"

/** A record of the plan's daemon, which checks nothing that it is given. */
interface Row {
  readonly id: string
  readonly name: string
  readonly state: string
  readonly [field: string]: unknown
}

const row = (name: string, cid: number, more: object = {}): Row => ({
  id: `00000000-0000-4000-8000-00000000000${cid}`,
  name,
  role: "work",
  state: "created",
  cid,
  vcpu_count: 1,
  mem_size_mib: 128,
  created_at: 1771425006,
  updated_at: 1771425006,
  ...more
})

type Reply = readonly [status: number, body: unknown]

/**
 * A daemon as the plan's code has it: errors that are `error` alone, health without `version`, an empty list for an
 * unknown role, and a CID one above the highest.
 */
class PlanDaemon {
  rows: Array<Row> = []
  /** When set, every call is answered with it. */
  broken: Reply | undefined
  readonly requests: Array<string> = []

  constructor(rows: ReadonlyArray<Row> = []) {
    this.rows = [...rows]
  }

  private reply(method: string, url: URL, body: string): Reply {
    const find = (nameOrId: string) => this.rows.find(({ id, name }) => id === nameOrId || name === nameOrId)
    if (this.broken !== undefined) return this.broken
    if (url.pathname === "/v1/health") {
      return [200, { status: "ok", database: { path: "/var/plan/nexus.db", table_count: 3, size_bytes: 45056 } }]
    }
    if (url.pathname === "/v1/vms" && method === "GET") {
      const wanted = (vm: Row) =>
        Array.from(url.searchParams).every(
          ([field, value]) => !["role", "state"].includes(field) || vm[field] === value
        )
      return [200, this.rows.filter(wanted)]
    }
    if (url.pathname === "/v1/vms" && method === "POST") {
      // It ignores fields that it does not know.
      const { config_json: _, ...params }: { name: string; config_json?: string } = JSON.parse(body)
      if (find(params.name) !== undefined) return [409, { error: `VM name '${params.name}' already exists` }]
      const vm = row(params.name, Math.max(2, ...this.rows.map(({ cid }) => Number(cid))) + 1, params)
      this.rows = [vm, ...this.rows]
      return [201, vm]
    }
    const [, segment = ""] = /^\/v1\/vms\/([^/]+)$/.exec(url.pathname) ?? []
    if (segment === "") return [404, null]
    if (method !== "GET" && method !== "DELETE") return [405, null]
    const nameOrId = decodeURIComponent(segment)
    const vm = find(nameOrId)
    if (vm === undefined) return [404, { error: `VM '${nameOrId}' not found` }]
    if (method === "GET") return [200, vm]
    if (vm.state === "running") return [409, { error: `cannot delete VM '${vm.name}': VM is running, stop it first` }]
    this.rows = this.rows.filter((other) => other !== vm)
    return [204, null]
  }

  listen(atEnd: AtEnd) {
    const server = Http.createServer(async (request, response) => {
      let text = ""
      for await (const part of request.setEncoding("utf8")) text += part
      this.requests.push(`${request.method} ${request.url} ${text}`.trim())
      const [status, body] = this.reply(`${request.method}`, new URL(`${request.url}`, "http://plan"), text)
      response.writeHead(status, { "content-type": "application/json" })
      response.end(body === null ? undefined : JSON.stringify(body))
    })
    return listen(server, atEnd)
  }
}

describe.concurrent("nexusctl with a daemon of the plan", () => {
  const home = makeHome(afterAll)

  const meet = async (daemon: PlanDaemon, atEnd: AtEnd) => {
    const { address } = await daemon.listen(atEnd)
    const nexusctl = (line: string | ReadonlyArray<string>) =>
      runCli(home, typeof line === "string" ? line.split(" ") : line, { env: { NEXUS_DAEMON: address } })
    return { address, nexusctl }
  }

  it("shows its status and version", async ({ onTestFinished }) => {
    const { address, nexusctl } = await meet(new PlanDaemon(), onTestFinished)
    expect(await nexusctl("status")).toEqual(
      printed(`Daemon: ok (${address})\nDatabase: /var/plan/nexus.db\n  Tables: 3\n  Size:   45056 bytes\n`)
    )
    expect(await nexusctl("version")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`\nnexusd   reachable at ${address}\n`)
    })
    expect(JSON.parse((await nexusctl("status -o json")).stdout)).toEqual({
      status: "ok",
      database: { path: "/var/plan/nexus.db", table_count: 3, size_bytes: 45056 }
    })
  })

  it("sends every field of a create", async ({ onTestFinished }) => {
    const daemon = new PlanDaemon()
    const { nexusctl } = await meet(daemon, onTestFinished)
    expect(await nexusctl("vm create my-vm --role portal --vcpu 4 --mem 1024")).toEqual(
      printed('Created VM "my-vm" (state: created, CID: 3)\n\n  Inspect it: nexusctl vm inspect my-vm\n')
    )
    const [request] = daemon.requests
    expect(request).toMatch(/^POST \/v1\/vms \{/)
    expect(JSON.parse(`${request}`.slice("POST /v1/vms ".length))).toEqual({
      name: "my-vm",
      role: "portal",
      vcpu_count: 4,
      mem_size_mib: 1024
    })
    expect(await nexusctl("vm create my-vm")).toEqual(
      failed(5, `Error: cannot create VM "my-vm"\n  VM name 'my-vm' already exists\n`)
    )
  })

  it("lists all VMs and those that match a filter", async ({ onTestFinished }) => {
    const daemon = new PlanDaemon([row("web", 4), row("door", 3, { role: "portal", state: "stopped" })])
    const { nexusctl } = await meet(daemon, onTestFinished)
    const listed = async (line: string) => {
      const { code, stderr, stdout } = await nexusctl(line)
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      return stdout
        .trimEnd()
        .split("\n")
        .map((text) => text.trimEnd().split(/ +/))
    }
    const head = ["NAME", "ROLE", "STATE", "VCPU", "MEM", "CID"]
    const door = ["door", "portal", "stopped", "1", "128M", "3"]
    expect(await listed("vm list")).toEqual([head, ["web", "work", "created", "1", "128M", "4"], door])
    expect(await listed("vm list --role portal --state stopped")).toEqual([head, door])
    expect(daemon.requests.at(-1)).toBe("GET /v1/vms?role=portal&state=stopped")
    expect(await nexusctl("vm list --role service")).toEqual(printed("No VMs found.\n"))
  })

  it("inspects and deletes a VM", async ({ onTestFinished }) => {
    const daemon = new PlanDaemon([row("web", 3)])
    const { nexusctl } = await meet(daemon, onTestFinished)
    expect(await nexusctl("vm inspect web")).toEqual(
      printed(
        `Name:       web
ID:         00000000-0000-4000-8000-000000000003
Role:       work
State:      created
CID:        3
vCPUs:      1
Memory:     128 MiB
Created:    2026-02-18 14:30:06 UTC
`
      )
    )
    expect(await nexusctl("vm delete web --yes")).toEqual(printed('Deleted VM "web"\n'))
    expect(daemon.rows).toEqual([])
  })

  it("exits with 4 for an unknown VM, and with 5 for a delete of a running one", async ({ onTestFinished }) => {
    const { nexusctl } = await meet(new PlanDaemon([row("busy", 3, { state: "running" })]), onTestFinished)
    expect(await nexusctl("vm inspect ghost")).toEqual(failed(4, 'Error: VM "ghost" not found\n'))
    expect(await nexusctl("vm delete ghost --yes")).toEqual(failed(4, 'Error: VM "ghost" not found\n'))
    expect(await nexusctl("vm delete busy --yes")).toEqual(
      failed(5, `Error: cannot delete VM "busy"\n  cannot delete VM 'busy': VM is running, stop it first\n`)
    )
  })

  it("shows and deletes records that this nexusd would refuse to create", async ({ onTestFinished }) => {
    const names = ["Web_Server.1", "a/b?c#d%20", "two words", "Ünïcode", "n".repeat(100)]
    const more = { vcpu_count: 0, mem_size_mib: 4294967295 }
    const daemon = new PlanDaemon(names.map((name, index) => row(name, index + 3, more)))
    const { nexusctl } = await meet(daemon, onTestFinished)
    const { code, stdout } = await nexusctl("vm list")
    expect(code).toBe(0)
    for (const name of names) expect(stdout).toContain(`\n${name} `)
    expect(JSON.parse((await nexusctl("vm list -o json")).stdout)).toEqual(daemon.rows)
    for (const name of names) {
      expect(await nexusctl(["vm", "inspect", name])).toMatchObject({
        code: 0,
        stdout: expect.stringContaining(`Name:       ${name}\n`)
      })
    }
    expect(await nexusctl(["vm", "delete", "a/b?c#d%20", "-y"])).toEqual(printed('Deleted VM "a/b?c#d%20"\n'))
    expect(daemon.rows.map(({ name }) => name)).toEqual(names.filter((name) => name !== "a/b?c#d%20"))
  })

  it("shows records with an unknown role, state or CID", async ({ onTestFinished }) => {
    const daemon = new PlanDaemon([row("odd", 0, { role: "gateway", state: "paused", cid: 4294967295 }), row("web", 3)])
    const { nexusctl } = await meet(daemon, onTestFinished)
    const { code, stderr, stdout } = await nexusctl("vm list")
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toMatch(/^odd +gateway +paused +1 +128M +4294967295$/m)
    expect(stdout).toMatch(/^web +work +created /m)
    expect(JSON.parse((await nexusctl("vm list -o json")).stdout)).toEqual(daemon.rows)
    expect((await nexusctl("vm inspect odd")).stdout).toMatch(/^Role: +gateway\nState: +paused\nCID: +4294967295$/m)
    expect(await nexusctl("vm delete odd --yes")).toEqual(printed('Deleted VM "odd"\n'))
  })

  it("applies --limit to the whole list that the daemon sends", async ({ onTestFinished }) => {
    const daemon = new PlanDaemon(["c", "b", "a"].map((name, index) => row(name, 5 - index)))
    const { nexusctl } = await meet(daemon, onTestFinished)
    expect(JSON.parse((await nexusctl("vm list -o json --limit 2")).stdout)).toEqual(daemon.rows.slice(0, 2))
  })

  it("says of each command that the daemon is too old for", async ({ onTestFinished }) => {
    const daemon = new PlanDaemon([row("web", 3)])
    const { nexusctl } = await meet(daemon, onTestFinished)
    for (const [line, command] of [
      ["vm start web", "vm start"],
      ["vm stop web", "vm stop"],
      ["vm restart web", "vm restart"],
      ["vm logs web", "vm logs"],
      ["vm wait web --state running", "vm wait"],
      ["vm update web --vcpu 2", "vm update"],
      ["vm list --watch --role work", "vm list --watch"],
      ["vm create new --start", "vm create --start"]
    ] as const) {
      expect(await nexusctl(line), line).toMatchObject({
        code: 1,
        stderr: `Error: this nexusd is too old for "${command}"\n`
      })
    }
    expect(daemon.rows.map(({ name }) => name)).toEqual(["new", "web"])
    expect(await nexusctl("vm create kernel --kernel /boot/vmlinux")).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^Error: this nexusd is too old for "vm create --kernel"\n/)
    })
  })

  it("prints unknown fields in JSON", async ({ onTestFinished }) => {
    const { nexusctl } = await meet(new PlanDaemon([row("web", 3, { kernel: "6.1" })]), onTestFinished)
    expect(JSON.parse((await nexusctl("vm inspect web -o json")).stdout)).toMatchObject({ kernel: "6.1" })
  })

  for (const [status, error] of [
    [500, "cannot query max CID: disk I/O error"],
    [503, "the database is closed"]
  ] as const) {
    it(`prints the message of a ${status} that has no field but error`, async ({ onTestFinished }) => {
      const daemon = new PlanDaemon()
      daemon.broken = [status, { error }]
      const { nexusctl } = await meet(daemon, onTestFinished)
      for (const [line, what] of [
        ["vm create x", 'cannot create VM "x"'],
        ["vm list", "cannot list VMs"],
        ["vm inspect x", 'cannot inspect VM "x"'],
        ["vm delete x -y", 'cannot delete VM "x"']
      ] as const) {
        expect(await nexusctl(line)).toEqual(failed(1, `Error: ${what}\n  ${error}\n`))
      }
      const health = await nexusctl("status")
      expect(health.stderr).toMatch(/^Error: /)
      expect(health.stderr).toContain(error)
      expect(health.code).toBe(1)
    })
  }
})

describe.concurrent("a client of the plan with nexusd", () => {
  /** What it sends: no Accept, a User-Agent of its own, and a name as it is. All over one connection. */
  const speak = async (atEnd: (dispose: () => Promise<void> | void) => void) => {
    const daemon = await startDaemon(makeHome(atEnd))
    const connection = await connect(daemon.port, atEnd)
    const ask = (method: string, path: string, content?: object, host = daemon.address): Promise<Answer> => {
      const body = content === undefined ? "" : JSON.stringify(content)
      const type = content === undefined ? [] : ["content-type: application/json", `content-length: ${body.length}`]
      const head = [`${method} ${path} HTTP/1.1`, `host: ${host}`, "user-agent: nexus-plan/0.0", ...type]
      connection.send(`${head.join("\r\n")}\r\n\r\n${body}`)
      return connection.answer()
    }
    return { ask, port: daemon.port }
  }
  const json = ({ body, headers }: Answer) => {
    expect(headers["content-type"]).toMatch(/^application\/json\b/)
    return JSON.parse(body)
  }

  it("gets the plan's answer to every call", async ({ onTestFinished }) => {
    const { ask } = await speak(onTestFinished)

    const full = { name: "web", role: "portal", vcpu_count: 2, mem_size_mib: 512 }
    const created = await ask("POST", "/v1/vms", full)
    expect(created.status).toBe(201)
    const vm = json(created)
    expect(vm).toEqual({
      ...full,
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      state: "created",
      cid: 3,
      created_at: expect.any(Number),
      updated_at: expect.any(Number)
    })
    const least = await ask("POST", "/v1/vms", { name: "least" })
    expect(json(least)).toMatchObject({ role: "work", vcpu_count: 1, mem_size_mib: 128, cid: 4 })

    const taken = await ask("POST", "/v1/vms", full)
    expect(taken.status).toBe(409)
    expect(json(taken).error).toBe("VM name 'web' already exists")

    expect(json(await ask("GET", "/v1/vms"))).toEqual([json(least), vm])
    expect(json(await ask("GET", "/v1/vms?role=portal"))).toEqual([vm])
    expect(json(await ask("GET", "/v1/vms?role=portal&state=created"))).toEqual([vm])
    expect(json(await ask("GET", "/v1/vms?state=running"))).toEqual([])

    expect(json(await ask("GET", "/v1/vms/web"))).toEqual(vm)
    expect(json(await ask("GET", `/v1/vms/${vm.id}`))).toEqual(vm)
    const ghost = await ask("GET", "/v1/vms/ghost")
    expect(ghost.status).toBe(404)
    expect(json(ghost).error).toBe("VM 'ghost' not found")

    expect(await ask("DELETE", `/v1/vms/${vm.id}`)).toMatchObject({ status: 204, body: "" })
    expect(await ask("DELETE", "/v1/vms/web")).toMatchObject({ status: 404 })
    expect(json(await ask("GET", "/v1/vms"))).toEqual([json(least)])

    const health = await ask("GET", "/v1/health")
    expect(health.status).toBe(200)
    expect(json(health)).toMatchObject({
      status: "ok",
      database: { path: expect.any(String), table_count: 3, size_bytes: expect.any(Number) }
    })
  })

  it("may send localhost as its Host", async ({ onTestFinished }) => {
    const { ask, port } = await speak(onTestFinished)
    expect((await ask("GET", "/v1/vms", undefined, `localhost:${port}`)).status).toBe(200)
    expect((await ask("POST", "/v1/vms", { name: "web" }, `localhost:${port}`)).status).toBe(201)
  })
})
