import { beforeAll, describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { afterSuite } from "../support/AfterSuite.js"
import { type DaemonOptions, runDaemon, startDaemon } from "../support/Daemon.js"
import { type EventStream, openEvents, takeEvents } from "../support/EventStream.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { hasPgBouncer, needsPgBouncer, PgBouncer } from "../support/PgBouncer.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { createVm } from "../support/VmCalls.js"

const atEnd = afterSuite()
let server: Server
beforeAll(async () => {
  if (hasPostgres) server = await Server.create(atEnd)
})

/** Two daemons on one database, and a stream of the events of each. */
const startTwo = async (options: DaemonOptions) => {
  const home = makeHome(atEnd)
  const [one, two] = [await startDaemon(home, options), await startDaemon(home, options)]
  const [atOne, atTwo] = [await openEvents(one), await openEvents(two)]
  for (const stream of [atOne, atTwo]) {
    atEnd(async () => stream.close())
    expect(await takeEvents(stream, 1)).toMatchObject([{ event: "ready" }])
  }
  return { one, two, atOne, atTwo }
}

/** The events up to one of that kind. */
const until = async (stream: EventStream, event: string) => {
  const seen: Array<string> = []
  while (seen.at(-1) !== event) seen.push((await takeEvents(stream, 1))[0]?.event ?? "")
  return seen
}

const expectAllChanges = async ({ atOne, atTwo, one, two }: Awaited<ReturnType<typeof startTwo>>) => {
  const web = await createVm(one, "web")
  for (const stream of [atOne, atTwo]) {
    const [created] = await takeEvents(stream, 1)
    expect({ event: created?.event, vm: JSON.parse(created?.data ?? "") }).toEqual({ event: "created", vm: web })
  }
  const updated = (await call(two, "PATCH", "/v1/vms/web", { vcpu_count: 2 })).body as Vm
  for (const stream of [atOne, atTwo]) {
    const [event] = await takeEvents(stream, 1)
    expect({ event: event?.event, vm: JSON.parse(event?.data ?? "") }).toEqual({ event: "updated", vm: updated })
  }
  await call(one, "DELETE", "/v1/vms/web")
  for (const stream of [atOne, atTwo]) {
    const [event] = await takeEvents(stream, 1)
    expect([event?.event, event?.data]).toEqual(["deleted", JSON.stringify({ id: web.id, name: "web" })])
  }
}

describe.skipIf(!hasPostgres)(`events on PostgreSQL${needsPostgres}`, () => {
  const args = async () => ["--db", server.url(await server.database())]

  it("each daemon's changes are events of every daemon", async () => {
    await expectAllChanges(await startTwo({ args: await args() }))
  })

  it("a daemon that is killed is a reset for the others, and one that stops is none", async () => {
    const { atOne, one, two } = await startTwo({ args: await args() })
    await two.stop()
    const home = makeHome(atEnd)
    const three = await startDaemon(home, { args: ["--db", one.said.stderr.match(/database (\S+)"/)?.[1] ?? ""] })
    await createVm(three, "web")
    expect(await takeEvents(atOne, 1)).toMatchObject([{ event: "created" }])
    await three.stop("SIGKILL")
    expect(await takeEvents(atOne, 1)).toMatchObject([{ event: "reset" }])
    // What it had sent to the server may have taken effect since.
    expect(await takeEvents(atOne, 1)).toMatchObject([{ event: "reset" }])
  })

  it("a lost connection is a reset, and later changes of others are events again", async () => {
    const database = await server.database()
    const { atOne, one, two } = await startTwo({ args: ["--db", server.url(database)] })
    const ended = await server.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()",
      { values: [database] }
    )
    expect(ended).toHaveLength(2)
    expect(await until(atOne, "reset")).toEqual(["reset"])
    const names: Array<string> = []
    for (let at = 0; !names.includes("created"); at++) {
      expect(at).toBeLessThan(50)
      await createVm(two, `vm-${at}`)
      names.push((await takeEvents(atOne, 1))[0]?.event ?? "")
    }
    expect((await call(one, "GET", "/v1/health")).status).toBe(200)
  })
})

describe.skipIf(!hasPgBouncer)(`events on PostgreSQL through PgBouncer${needsPgBouncer}`, () => {
  let pooler: PgBouncer
  beforeAll(async () => {
    pooler = await PgBouncer.create(atEnd, server)
  })

  it("changes are resets", async () => {
    const { atOne, atTwo, one, two } = await startTwo({ args: ["--db", pooler.url(await server.database())] })
    for (const daemon of [one, two]) {
      await createVm(daemon, `vm-${daemon.port}`)
      for (const stream of [atOne, atTwo]) expect(await until(stream, "reset")).toEqual(["reset"])
    }
    await call(two, "PATCH", `/v1/vms/vm-${one.port}`, { vcpu_count: 2 })
    for (const stream of [atOne, atTwo]) expect(await until(stream, "reset")).toEqual(["reset"])
    await call(one, "DELETE", `/v1/vms/vm-${one.port}`)
    for (const stream of [atOne, atTwo]) expect(await until(stream, "reset")).toEqual(["reset"])
  })

  it("with database.listen_url each daemon's changes are events of every daemon", async () => {
    const database = await server.database()
    const config = `database:\n  listen_url: "${server.url(database)}"\n`
    await expectAllChanges(await startTwo({ args: ["--db", pooler.url(database)], config }))
  })

  it("a database.listen_url that leads elsewhere is refused in one line, without its password", async () => {
    const [database, other] = [await server.database(), await server.database()]
    const refusals = [
      [server.url(other).replace("postgres@", "postgres:geheim@"), "is another database than"],
      [pooler.url(database).replace("postgres@", "postgres:geheim@"), "leads through a connection pooler"],
      ["/var/lib/nexus.db", "expected a postgres:// URL"]
    ] as const
    for (const [url, reason] of refusals) {
      const home = makeHome(atEnd)
      const options = { args: ["--db", pooler.url(database)], env: { NEXUS_DATABASE_LISTEN_URL: url } }
      const { code, stderr } = await runDaemon(home, options)
      const errors = stderr
        .trim()
        .split("\n")
        .filter((line) => !line.includes('"level":"info"'))
      expect({ code, errors }).toEqual({ code: 1, errors: [expect.stringContaining(reason)] })
      expect(stderr).not.toContain("geheim")
    }
  })
})
