import * as Http from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { expect } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import type { Daemon } from "../support/Daemon.js"
import { type EventStream, openEvents, type ServerSentEvent } from "../support/EventStream.js"
import { sendRequest } from "../support/HttpJson.js"
import { listVms } from "../support/VmCalls.js"

/** What every writer of one run does. */
export const operationsEach = 40

const zeros = {
  changes: 0,
  unanswered: 0,
  events: 0,
  resumed: 0,
  gone: 0,
  resets: 0,
  restarts: 0,
  disconnects: 0
}

export const counts = { ...zeros }
/** Sets all counts to zero, before a test. */
export const resetCounts = () => void Object.assign(counts, zeros)

/** The daemon, which is restarted while it is used. */
export interface Service {
  readonly current: () => Promise<Daemon>
}

/** A client that keeps a copy of the records: it lists them once, and then follows events. */
export const makeFollower = (service: Service) => {
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
    // Resuming repeats nothing but a `reset` whose list failed.
    if (event !== "ready") expect(seen.has(id), `${event} ${id} a second time`).toBe(false)
    const vm: Vm = JSON.parse(data)
    if (event === "reset") {
      counts.resets++
      await list(daemon)
    }
    if (event === "created" || event === "updated") records.set(vm.id, vm)
    if (event === "deleted") records.delete(vm.id)
    counts.events++
    seen.add(id)
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
    // The look for others' changes lost its connection to PostgreSQL.
    if (stream.status === 503) {
      stream.close()
      await sleep(5)
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

  let failure: Error | undefined
  const following = (async () => {
    while (!isStopped && failure === undefined) {
      try {
        await followOnce()
      } catch (error) {
        if (error instanceof Error && error.name === "AssertionError") failure = error
        await sleep(5)
      }
    }
  })()
  const assertFollowing = () => {
    if (failure !== undefined) throw failure
  }

  return {
    records: () => {
      assertFollowing()
      return Array.from(records.values())
    },
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
      assertFollowing()
    }
  }
}

export const agent = new Http.Agent({ keepAlive: true })

/** Makes one change, which may be refused, or get no answer when the daemon is killed. */
export const change = async (service: Service, method: string, path: string, content?: object) => {
  const daemon = await service.current()
  const answer = await sendRequest(daemon, method, path, { agent, content }).catch(() => undefined)
  if (answer === undefined) counts.unanswered++
  else if (answer.status < 300) counts.changes++
  else expect([400, 404, 409, 503], `${method} ${path}: ${answer.text}`).toContain(answer.status)
}

export const pick = <A>(values: ReadonlyArray<A>): A => values[Math.floor(Math.random() * values.length)] as A
const sharedNames = Array.from({ length: 12 }, (_, at) => `shared-${at}`)

export const write = async (service: Service, own: number, run: number) => {
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

export const sorted = (vms: ReadonlyArray<Vm>) => vms.toSorted((a, b) => a.cid - b.cid)
