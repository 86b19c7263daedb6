import { existsSync, readdirSync, readFileSync } from "node:fs"
import * as Net from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { isDeepStrictEqual } from "node:util"
import { expect, it, onTestFinished } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { call, type Daemon, listVms, makeHome, startDaemon } from "../support/Processes.js"
import { isFull, report } from "./Report.js"

const hasProc = existsSync("/proc/self/status") && existsSync("/proc/self/fd")
const [lasts, warmUp, factor] = isFull ? [600_000, 60_000, 1.2] : [6_000, 2_000, 1.5]
const clients = 16
const promise = "soak"

const residentKib = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])
const handles = (pid: number) => readdirSync(`/proc/${pid}/fd`).length

/** What this process has seen: every status, and each answer that should not have been. */
interface Books {
  readonly statuses: Map<number, number>
  readonly wrong: Array<string>
}

/** A client with records of its own, of which it keeps some ten; it knows what each answer must be. */
const client = async (daemon: Daemon, line: number, isOver: () => boolean, { statuses, wrong }: Books) => {
  const mine = new Map<string, Vm>()
  const ask = async (wanted: ReadonlyArray<number>, method: string, path: string, content?: unknown) => {
    const { body, status } = await call(daemon, method, path, content)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    if (!wanted.includes(status)) wrong.push(`${method} ${path}: ${status} ${JSON.stringify(body)}`)
    return body
  }
  for (let n = 0; !isOver(); n++) {
    const known = Array.from(mine.values())[n % Math.max(1, mine.size)]
    const name = `soak-${line}-${n}`
    const dice = Math.random()
    if (known === undefined || (dice < 0.25 && mine.size < 20)) {
      mine.set(name, (await ask([201], "POST", "/v1/vms", { name })) as Vm)
    } else if (dice < 0.45) {
      await ask([204], "DELETE", `/v1/vms/${dice < 0.35 ? known.id : known.name}`)
      mine.delete(known.name)
    } else if (dice < 0.65) {
      const body = await ask([200], "GET", `/v1/vms/${known.name}`)
      if (!isDeepStrictEqual(body, known)) wrong.push(`${JSON.stringify(body)} is no ${known.name}`)
    } else if (dice < 0.72) {
      const list = (await ask([200], "GET", "/v1/vms")) as ReadonlyArray<Vm>
      const listed = new Set(list.map(({ id }) => id))
      for (const vm of mine.values()) if (!listed.has(vm.id)) wrong.push(`${vm.name} is not listed`)
    } else if (dice < 0.78) await ask([200], "GET", "/v1/health")
    else if (dice < 0.82) await ask([409], "POST", "/v1/vms", { name: known.name })
    else if (dice < 0.86) await ask([404], "DELETE", `/v1/vms/${name}`)
    else if (dice < 0.9) await ask([400], "POST", "/v1/vms", { name: "Not A Label", more: "x".repeat(1000) })
    else if (dice < 0.93) await ask([413], "POST", "/v1/vms", { name, more: "x".repeat(1_100_000) }).catch(() => {})
    else if (dice < 0.95) await ask([404], "GET", "/no/such/place")
    else await dropped(daemon, dice)
  }
  return Array.from(mine.values())
}

/** A connection that is closed by its client, before, within or after a request. */
const dropped = (daemon: Daemon, dice: number): Promise<void> =>
  new Promise((resolve) => {
    const socket = Net.connect(daemon.port, "127.0.0.1", () => {
      const request = `GET /v1/vms HTTP/1.1\r\nHost: ${daemon.address}\r\n\r\n`
      if (dice > 0.96) socket.write(request.slice(0, dice > 0.98 ? request.length : 20))
      setTimeout(() => (dice > 0.97 ? socket.destroy() : socket.end()), 5)
    })
    socket
      .on("error", () => {})
      .resume()
      .once("close", () => resolve())
  })

const name = `${lasts / 1000} s of mixed load leak neither memory nor handles, and the books agree`
if (!hasProc) report({ promise, trials: name, asserted: "skipped", result: "skipped: needs /proc" })

it.skipIf(!hasProc)(hasProc ? name : `${name} (needs /proc)`, { timeout: lasts + 60_000 }, async () => {
  const home = makeHome(onTestFinished)
  const daemon = await startDaemon(home)
  const pid = daemon.child.pid ?? 0
  const books: Books = { statuses: new Map(), wrong: [] }
  const end = Date.now() + lasts
  const work = Promise.all(
    Array.from({ length: clients }, (_, line) => client(daemon, line, () => Date.now() > end, books))
  )
  // One sample depends on when garbage was last collected; the highest of a span does not.
  const highest = async (span: number) => {
    const samples: Array<number> = []
    for (const until = Date.now() + span; Date.now() < until; ) {
      await sleep(100)
      samples.push(residentKib(pid))
    }
    return Math.max(...samples)
  }
  const span = warmUp / 4
  await sleep(warmUp - span)
  const early = await highest(span)
  const handlesEarly = handles(pid)
  await sleep(Math.max(0, end - Date.now() - span))
  const late = await highest(span)
  const kept = (await work).flat()
  // The last connections are still being closed.
  await sleep(500)
  const handlesLate = handles(pid)

  const byId = (vms: ReadonlyArray<Vm>) => Array.from(vms).sort((a, b) => (a.id < b.id ? -1 : 1))
  expect(books.wrong.slice(0, 5)).toEqual([])
  expect(Array.from(books.statuses.keys()).filter((status) => status >= 500)).toEqual([])
  expect(byId(await listVms(daemon))).toEqual(byId(kept))
  expect(handlesLate).toBeLessThanOrEqual(handlesEarly)
  expect(late, `${early} KiB after ${warmUp / 1000} s`).toBeLessThanOrEqual(early * factor)
  expect((await daemon.stop()).code).toBe(0)
  const requests = Array.from(books.statuses.values()).reduce((sum, count) => sum + count, 0)
  report({
    promise,
    trials: `${lasts / 1000} s, ${clients} clients, ${requests} requests, connections dropped in between`,
    asserted: `no 5xx, every answer right, memory at most ${factor} times that after ${warmUp / 1000} s, no handle more`,
    result:
      `VmRSS ${Math.round(early / 1024)} MiB, then ${Math.round(late / 1024)} MiB (${(late / early).toFixed(2)}); ` +
      `handles ${handlesEarly}, then ${handlesLate}; ${kept.length} records agree`
  })
})
