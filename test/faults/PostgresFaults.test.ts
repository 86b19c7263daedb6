import * as Http from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { parsePostgresUrl } from "../../src/services/PostgresUrl.js"
import * as PostgresDatabase from "../../src/services/postgres/PostgresDatabase.js"
import { afterSuite } from "../support/AfterSuite.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { hasPgBouncer, needsPgBouncer, PgBouncer } from "../support/PgBouncer.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { isFull, report, trials } from "./Report.js"

/**
 * How soon an outage is answered, and how soon it is over once the server is back, in milliseconds. At short scale the
 * machine is busy with other tests.
 */
const bound = trials(5_000, 20_000)
const slowest = { outage: 0, recovery: 0 }

type Call = readonly [method: string, path: string, content?: unknown]
const calls: ReadonlyArray<Call> = [
  ["GET", "/v1/vms"],
  ["GET", "/v1/vms?role=work"],
  ["GET", "/v1/vms/web"],
  ["GET", "/v1/vms/ghost"],
  ["POST", "/v1/vms", { name: "late" }],
  ["DELETE", "/v1/vms/ghost"]
]

/** Every call is a 503 in time, as the contract has it, and health says so. */
const expectOutage = async (daemon: Daemon) => {
  const began = performance.now()
  // More than the pool has connections: those that wait for one must hear of it too.
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => calls)
      .flat()
      .map(async ([method, path, content]) => ({ path, ...(await call(daemon, method, path, content)) }))
  )
  const health = await call(daemon, "GET", "/v1/health")
  const took = performance.now() - began
  for (const { body, path, status } of answers) {
    expect({ path, status, body }).toEqual({
      path,
      status: 503,
      body: { _tag: "StoreUnavailable", error: expect.stringMatching(/^the database /) }
    })
  }
  expect(health).toMatchObject({ status: 503, body: { status: "degraded", error: expect.any(String) } })
  return took
}

const expectOutages = async (daemon: Daemon, rounds: number) => {
  for (let round = 0; round < rounds; round++) {
    const began = performance.now()
    await Promise.all(
      calls.map(async ([method, path, content]) => {
        const { status } = await call(daemon, method, path, content)
        const took = performance.now() - began
        slowest.outage = Math.max(slowest.outage, took)
        expect({ path, status, inTime: took < bound }).toEqual({ path, status: 503, inTime: true })
      })
    )
  }
  await expectOutage(daemon)
}

/** Every call is served again in time. */
const expectRecovery = async (daemon: Daemon, name: string, recoveryBound = bound) => {
  const began = performance.now()
  for (;;) {
    const { status } = await call(daemon, "POST", "/v1/vms", { name })
    // A create whose answer was lost in the outage may have been made.
    if (status === 201 || status === 409) break
    expect(performance.now() - began).toBeLessThan(recoveryBound)
    await sleep(50)
  }
  const took = performance.now() - began
  slowest.recovery = Math.max(slowest.recovery, took)
  expect(took).toBeLessThan(recoveryBound)
  const answers = await Promise.all(
    Array.from({ length: 30 }, async () => (await call(daemon, "GET", `/v1/vms/${name}`)).status)
  )
  expect(new Set(answers)).toEqual(new Set([200]))
  expect((await call(daemon, "GET", "/v1/health")).status).toBe(200)
}

type Stop = "fast" | "immediate"
const stops: ReadonlyArray<readonly [string, Stop]> = [
  ["stopped", "fast"],
  ["cut off", "immediate"]
]

const stopWhileRunning = async (server: Server, url: string, mode: Stop, atEnd: AtEnd, recoveryBound = bound) => {
  const daemon = await startDaemon(makeHome(atEnd), { args: ["--db", url] })
  await createVm(daemon, "web")
  await server.stop(mode)
  await expectOutages(daemon, 2)
  await server.start()
  await expectRecovery(daemon, "back", recoveryBound)
  expect((await listVms(daemon)).map(({ name }) => name)).toContain("web")
  expect((await daemon.stop()).code).toBe(0)
}

const restartUnderLoad = async (
  server: Pick<Server, "start" | "stop">,
  url: string,
  atEnd: AtEnd,
  // A call that waited for a server is logged too, if it took over a second.
  expectedLog = /store: |listening|took/
) => {
  const daemon = await startDaemon(makeHome(atEnd), { args: ["--db", url] })
  const acknowledged = new Map<string, Vm>()
  const wrong: Array<unknown> = []
  let isOver = false
  const client = async (id: number) => {
    for (let serial = 0; !isOver; serial++) {
      const name = `vm-${id}-${serial}`
      const { body, status } = await call(daemon, "POST", "/v1/vms", { name })
      if (status !== 201 && status !== 503) wrong.push({ status, body })
      if (status === 201) acknowledged.set(name, body as Vm)
    }
  }
  const load = Promise.all(Array.from({ length: 16 }, (_, id) => client(id)))
  /** Waits until the load is served. */
  const moreAcknowledged = async () => {
    const enough = acknowledged.size + 20
    while (acknowledged.size < enough && wrong.length === 0) await sleep(1)
  }
  for (let restart = 0; restart < trials(10, 2); restart++) {
    await moreAcknowledged()
    await server.stop(restart % 2 === 0 ? "immediate" : "fast")
    await server.start()
  }
  await moreAcknowledged()
  isOver = true
  await load
  expect({
    wrong,
    log: daemon.log().filter((line) => !expectedLog.test(line))
  }).toEqual({ wrong: [], log: [] })
  await expectRecovery(daemon, "back")
  const found = new Map((await listVms(daemon)).map((vm) => [vm.name, vm]))
  for (const [name, vm] of acknowledged) expect(found.get(name)).toEqual(vm)
  expect(acknowledged.size).toBeGreaterThan(0)
  expect(new Set(Array.from(found.values(), ({ cid }) => cid)).size).toBe(found.size)
}

const pauseWhileRunning = async (server: Server, url: string, atEnd: AtEnd) => {
  const home = makeHome(atEnd)
  const daemon = await startDaemon(home, { args: ["--db", url] })
  await createVm(daemon, "web")
  // Connections that are open at that time, and new ones.
  await Promise.all(Array.from({ length: 10 }, () => listVms(daemon)))
  server.pause()
  try {
    await expectOutages(daemon, 2)
  } finally {
    server.resume()
  }
  await expectRecovery(daemon, "back")
  expect((await daemon.stop()).code).toBe(0)
}

describe.skipIf(!hasPostgres)(`PostgreSQL's faults${needsPostgres}`, () => {
  let server: Server
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
  })
  beforeEach(() => server.revive())
  afterAll(async () => {
    report({
      promise: "10. outages",
      trials: "PostgreSQL stopped, cut off, paused and restarted; its standby promoted",
      asserted: `every call 503 within ${bound} ms, full service within ${bound} ms of its return`,
      result: `slowest 503 ${Math.round(slowest.outage)} ms, slowest return ${Math.round(slowest.recovery)} ms`
    })
  })

  it("at start: nexusd logs one line, retries, and serves once the server is up", async ({ onTestFinished }) => {
    const database = await server.database()
    await server.stop()
    const home = makeHome(onTestFinished)
    const address = `127.0.0.1:${await freePort()}`
    const args = [programs.nexusd, "--db", server.url(database)]
    const { child, ended, said } = start(home, process.execPath, args, { env: { NEXUS_API_LISTEN: address } })
    while (!said.stderr.includes("trying again")) await sleep(20)
    expect(said.stderr).toMatch(/"level":"warn","message":"cannot use postgres:[^"]*ENOENT[^"]*; trying again for 30s"/)
    // Time in which a second line would come.
    await sleep(1_000)
    expect(said.stderr.trim().split("\n")).toHaveLength(1)
    const began = performance.now()
    await server.start()
    while (!said.stderr.includes("listening")) await sleep(20)
    expect(performance.now() - began).toBeLessThan(bound)
    await createVm({ url: `http://${address}` }, "web")
    child.kill("SIGTERM")
    expect((await ended).code).toBe(0)
  })

  it("at start for good: nexusd gives up after a bounded time", { timeout: 60_000 }, async ({ onTestFinished }) => {
    const nowhere = `postgres://postgres@127.0.0.1:${await freePort()}/n`
    const target = Either.getOrThrow(parsePostgresUrl(nowhere))
    const began = performance.now()
    const error = await Effect.runPromise(
      Effect.flip(Effect.scoped(Layer.build(PostgresDatabase.layer(target, { startTimeout: "2 seconds" }))))
    )
    expect(error.message).toMatch(/^cannot use postgres:.*ECONNREFUSED/)
    expect(performance.now() - began).toBeGreaterThan(1_000)
    // The default is 30 s.
    expect(performance.now() - began).toBeLessThan(20_000)
    if (!isFull) return
    const { ended } = start(makeHome(onTestFinished), process.execPath, [programs.nexusd, "--db", nowhere])
    const { code, stderr } = await ended
    expect(code).toBe(1)
    expect(stderr.trim().split("\n").at(-1)).toMatch(/^Error: cannot use postgres:.*ECONNREFUSED/)
    expect(performance.now() - began).toBeLessThan(45_000)
  })

  it.each(stops)("%s while the daemon runs", async (_, mode) => {
    const database = await server.database()
    await stopWhileRunning(server, server.url(database), mode, atEnd)
  })

  it("restarted under load: every answer is right or a 503", async ({ onTestFinished }) => {
    const database = await server.database()
    await restartUnderLoad(server, server.url(database), onTestFinished)
  })

  it.each(["url", "tcpUrl"] as const)("paused: sockets stay open, and nothing hangs (%s)", async (url) => {
    const database = await server.database()
    await pauseWhileRunning(server, server[url](database), atEnd)
  })

  it("paused at stop: the daemon still ends", async ({ onTestFinished }) => {
    const database = await server.database()
    const daemon = await startDaemon(makeHome(onTestFinished), { args: ["--db", server.url(database)] })
    await createVm(daemon, "web")
    server.pause()
    try {
      const began = performance.now()
      expect((await daemon.stop()).code).toBe(0)
      expect(performance.now() - began).toBeLessThan(bound)
    } finally {
      server.resume()
    }
  })

  it(`a daemon killed mid-create leaves whole records or none, ${trials(50, 4)} times`, {
    timeout: trials(300, 50) * 1_000
  }, async ({ onTestFinished }) => {
    const database = await server.database()
    const home = makeHome(onTestFinished)
    const acknowledged = new Map<string, Vm>()
    let inFlight = 0
    for (let kill = 0; kill < trials(50, 4); kill++) {
      const daemon = await startDaemon(home, { args: ["--db", server.url(database)] })
      const agent = new Http.Agent({ keepAlive: true })
      const client = async (id: number) => {
        for (let serial = 0; ; serial++) {
          const name = `vm-${kill}-${id}-${serial}`
          const answer = await call(daemon, "POST", "/v1/vms", { name }).catch(() => undefined)
          if (answer === undefined) {
            inFlight++
            return
          }
          expect(answer.status).toBe(201)
          acknowledged.set(name, answer.body as Vm)
        }
      }
      const load = Promise.all(Array.from({ length: 16 }, (_, id) => client(id)))
      const before = acknowledged.size
      while (acknowledged.size === before) await sleep(1)
      await sleep(Math.random() * 200)
      await daemon.stop("SIGKILL")
      await load
      agent.destroy()
    }
    const daemon = await startDaemon(home, { args: ["--db", server.url(database)] })
    const found = await listVms(daemon)
    const byName = new Map(found.map((vm) => [vm.name, vm]))
    for (const [name, vm] of acknowledged) expect(byName.get(name)).toEqual(vm)
    for (const vm of found) {
      expect(Object.keys(vm)).toEqual(Object.keys(Array.from(acknowledged.values())[0] ?? {}))
      expect(await call(daemon, "GET", `/v1/vms/${vm.id}`)).toEqual({ status: 200, body: vm })
    }
    expect(new Set(found.map(({ cid }) => cid)).size).toBe(found.length)
    // No lock of the dead keeps a name or a number.
    await Promise.all(Array.from({ length: 20 }, (_, at) => createVm(daemon, `after-${at}`)))
    report({
      promise: "10. whole or none",
      trials: `${trials(50, 4)} kills (SIGKILL) of a daemon on PostgreSQL under 16 creating clients`,
      asserted: "every acknowledged record is there as answered, every other whole, CIDs unique",
      result: `${acknowledged.size} creates acknowledged, ${inFlight} in flight, ${found.length - acknowledged.size} of them made`
    })
  })

  it.each(["killed", "paused"])("a standby is promoted after the primary was %s", async (fault) => {
    const primary = await Server.create(atEnd)
    const standby = await primary.standby(atEnd)
    const database = await primary.database()
    const hosts = `127.0.0.1:${primary.port},127.0.0.1:${standby.port}`
    const url = `postgres://postgres@${hosts}/${database}?target_session_attrs=read-write`
    const home = makeHome(atEnd)
    const daemon = await startDaemon(home, { args: ["--db", url] })
    // The standby alone is no server to write to, in whichever order they are named.
    const reversed = await startDaemon(home, {
      args: ["--db", url.replace(hosts, hosts.split(",").reverse().join(","))]
    })
    const web = await createVm(daemon, "web")
    expect(await listVms(reversed)).toEqual([web])
    await Promise.all(Array.from({ length: 10 }, () => listVms(daemon)))
    const [row] = await primary.query("SELECT pg_current_wal_lsn()::text AS lsn")
    while (
      (await standby.query("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS done", { values: [row?.["lsn"]] }))[0]?.[
        "done"
      ] !== true
    )
      await sleep(20)

    if (fault === "killed") primary.kill()
    else primary.pause()
    const began = performance.now()
    const { status } = await call(daemon, "GET", "/v1/vms/web")
    expect({ status, inTime: performance.now() - began < bound }).toEqual({ status: 503, inTime: true })
    await standby.promote()
    await expectRecovery(daemon, "after")
    await expectRecovery(reversed, "after-too")
    if (fault === "paused") {
      // What comes back does what it was asked before it was paused, and is asked nothing more.
      primary.resume()
      await Promise.all(Array.from({ length: 30 }, (_, at) => createVm(daemon, `later-${at}`)))
      expect(await primary.query("SELECT name FROM vms WHERE name LIKE 'later-%'", { database })).toEqual([])
    }
    expect((await listVms(daemon)).map(({ name }) => name)).toEqual(
      expect.arrayContaining(["web", "after", "after-too"])
    )
    for (const one of [daemon, reversed]) expect((await one.stop()).code).toBe(0)
  })
})

describe.skipIf(!hasPgBouncer)(`PostgreSQL's faults behind PgBouncer${needsPgBouncer}`, () => {
  let server: Server
  let pooler: PgBouncer
  const retrySeconds = trials(15, 1)
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
  })
  beforeEach(async () => {
    await server.revive()
    // Each outage has its own, since it tries no server that failed for 15 s, or here for one.
    const retry = `server_login_retry = ${retrySeconds}`
    pooler = await PgBouncer.create(atEnd, server, ["pool_mode = transaction", retry])
  })
  const url = async () => pooler.url(await server.database())
  /** PgBouncer keeps statements waiting while the server is away. */
  const expectedLog = /store: |listening|pooler|took/

  it.each(stops)("%s while the daemon runs", { timeout: 60_000 }, async (_, mode) =>
    stopWhileRunning(server, await url(), mode, atEnd, bound + retrySeconds * 1_000)
  )

  it("restarted under load: every answer is right or a 503", { timeout: trials(300_000, 60_000) }, async () =>
    restartUnderLoad(server, await url(), atEnd, expectedLog)
  )

  it("paused: sockets stay open, and nothing hangs", async () => pauseWhileRunning(server, await url(), atEnd))

  it("the pooler is killed under load, and starts again: every answer is right or a 503", {
    timeout: trials(300_000, 60_000)
  }, async () => {
    const restart = { stop: () => pooler.kill(), start: () => pooler.start() }
    await restartUnderLoad(restart, await url(), atEnd, expectedLog)
  })
})
