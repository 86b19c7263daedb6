import * as Http from "node:http"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, it, vi } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type EventStream, openEvents, type ServerSentEvent } from "../support/EventStream.js"
import { makeHome } from "../support/Home.js"
import { sendRequest } from "../support/HttpJson.js"
import { withDatabase } from "../support/Sqlite.js"
import { listVms } from "../support/VmCalls.js"
import { report, trials } from "./Report.js"

const runs = trials(100, 2)
const writers = 10
const operationsEach = 40

const counts = { changes: 0, unanswered: 0, events: 0, resumed: 0, gone: 0, resets: 0, restarts: 0, disconnects: 0 }

/** The daemon, which is restarted while it is used. */
interface Service {
  readonly current: () => Promise<Daemon>
}

/** A client that keeps a copy of the records: it lists them once, and then follows events. */
const makeFollower = (service: Service) => {
  let records = new Map<string, Vm>()
  let lastId: string | undefined
  let stream: EventStream | undefined
  let isStopped = false
  const seen = new Set<string>()
  const checks: Array<() => void> = []

  const list = async (daemon: Daemon) => {
    records = new Map((await listVms(daemon)).map((vm) => [vm.id, vm]))
  }

  const apply = async (daemon: Daemon, { data, event, id }: ServerSentEvent) => {
    // Resuming repeats nothing.
    if (event !== "ready") expect(seen.has(id), `${event} ${id} a second time`).toBe(false)
    seen.add(id)
    const vm: Vm = JSON.parse(data)
    if (event === "reset") {
      counts.resets++
      await list(daemon)
    }
    if (event === "created" || event === "updated") records.set(vm.id, vm)
    if (event === "deleted") records.delete(vm.id)
    counts.events++
    lastId = id
    for (const check of checks) check()
  }

  /** Follows until the stream ends. Throws when the daemon does. */
  const followOnce = async () => {
    const daemon = await service.current()
    stream = await openEvents(daemon, lastId)
    if (stream.status === 410) {
      stream.close()
      lastId = undefined
      counts.gone++
      return
    }
    expect(stream.status).toBe(200)
    const ready = await stream.next()
    if (ready === undefined) return
    if (lastId === undefined) await list(daemon)
    else counts.resumed++
    await apply(daemon, ready)
    for (let event = await stream.next(); event !== undefined; event = await stream.next()) await apply(daemon, event)
  }

  const following = (async () => {
    while (!isStopped) {
      try {
        await followOnce()
      } catch (error) {
        if (error instanceof Error && error.name === "AssertionError") throw error
        await sleep(5)
      }
    }
  })()

  return {
    records: () => Array.from(records.values()),
    /** Loses the connection, as a client's network would. */
    disconnect: () => {
      counts.disconnects++
      stream?.close()
    },
    /** Waits until a record of that name is known. */
    until: (name: string) =>
      Promise.race([
        following,
        new Promise<void>((resolve) => {
          const check = () => {
            if (Array.from(records.values()).some((vm) => vm.name === name)) resolve()
          }
          checks.push(check)
          check()
        })
      ]),
    stop: async () => {
      isStopped = true
      stream?.close()
      await following
    }
  }
}

const agent = new Http.Agent({ keepAlive: true })

/** Makes one change, which may be refused, or get no answer when the daemon is killed. */
const change = async (service: Service, method: string, path: string, content?: object) => {
  const daemon = await service.current()
  const answer = await sendRequest(daemon, method, path, { agent, content }).catch(() => undefined)
  if (answer === undefined) counts.unanswered++
  else if (answer.status < 300) counts.changes++
  else expect([400, 404, 409, 503], `${method} ${path}: ${answer.text}`).toContain(answer.status)
}

const pick = <A>(values: ReadonlyArray<A>): A => values[Math.floor(Math.random() * values.length)] as A
const sharedNames = Array.from({ length: 12 }, (_, at) => `shared-${at}`)

const write = async (service: Service, own: number, run: number) => {
  for (let at = 0; at < operationsEach; at++) {
    const name = Math.random() < 0.7 ? pick(sharedNames) : `own-${own}-${pick([1, 2, 3])}`
    const vcpu_count = 1 + Math.floor(Math.random() * 32)
    const kind = pick(["create", "create", "update", "update", "replace", "delete"] as const)
    if (kind === "create") await change(service, "POST", "/v1/vms", { name, vcpu_count })
    if (kind === "update") await change(service, "PATCH", `/v1/vms/${name}`, { vcpu_count, mem_size_mib: 100 + run })
    if (kind === "replace") await change(service, "PUT", `/v1/vms/${name}`, { vcpu_count })
    if (kind === "delete") await change(service, "DELETE", `/v1/vms/${name}`)
  }
}

const sorted = (vms: ReadonlyArray<Vm>) => vms.toSorted((a, b) => a.cid - b.cid)

it(`a client that follows events has the records of a list, in ${runs} runs of ${writers} writers`, {
  timeout: runs * 30_000 + 60_000
}, async ({ onTestFinished }) => {
  const home = makeHome(onTestFinished)
  const path = join(home.path, "state/nexus/nexus.db")
  let current = startDaemon(home)
  const service: Service = { current: () => current }
  const restart = async (signal: NodeJS.Signals) => {
    counts.restarts++
    const old = await current
    const ended = old.stop(signal)
    current = ended.then(() => startDaemon(home))
    await current
  }
  /** Changes records without the daemon, which can't name such changes. */
  const changeElsewhere = () =>
    withDatabase(path, (database) => {
      database.exec("PRAGMA busy_timeout = 5000")
      database.exec("UPDATE vms SET role = 'service' WHERE rowid % 3 = 0")
    })
  await current
  const early = makeFollower(service)

  for (let run = 1; run <= runs; run++) {
    const late = makeFollower(service)
    const faults = async () => {
      for (let fault = 0; fault < 5; fault++) {
        await sleep(Math.random() * 150)
        const dice = Math.random()
        if (dice < 0.2) await restart(pick(["SIGKILL", "SIGTERM"]))
        else if (dice < 0.4) changeElsewhere()
        else pick([early, late]).disconnect()
      }
    }
    await Promise.all([faults(), ...Array.from({ length: writers }, (_, own) => write(service, own, run))])
    await change(service, "POST", "/v1/vms", { name: `end-${run}` })
    const expected = sorted(await listVms(await service.current()))
    for (const follower of [early, late]) {
      await follower.until(`end-${run}`)
      // A change by another process is noticed within a second.
      const agree = () => expect(sorted(follower.records()), `run ${run}`).toEqual(expected)
      await vi.waitFor(agree, { timeout: 10_000, interval: 20 })
    }
    await late.stop()
  }
  await early.stop()
  await (await current).stop()
  agent.destroy()

  for (const [what, count] of Object.entries(counts)) {
    if (runs > 20) expect(count, what).toBeGreaterThan(0)
  }
  report({
    promise: "17. events agree with lists",
    trials: `${runs} runs of ${writers} writers x ${operationsEach} operations, with ${counts.restarts} restarts (SIGKILL or SIGTERM), ${counts.disconnects} lost connections, and changes by another process`,
    asserted:
      "a client that lists once and then follows events has the records of a list at the end; no event comes twice",
    result: `${counts.changes} changes, ${counts.unanswered} without an answer; ${counts.events} events, ${counts.resumed} streams resumed, ${counts.gone} Gone, ${counts.resets} resets; 0 differences`
  })
})
