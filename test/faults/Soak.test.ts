import { existsSync, readdirSync, readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import { isDeepStrictEqual } from "node:util"
import { expect, it, onTestFinished, vi } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { openEvents } from "../support/EventStream.js"
import { makeHome } from "../support/Home.js"
import { ConnectionLost, sendRequest } from "../support/HttpJson.js"
import { listVms } from "../support/VmCalls.js"
import { isFull, report } from "./Report.js"

const hasProc = existsSync("/proc/self/status") && existsSync("/proc/self/fd")

/**
 * How long the load goes on: for so many seconds and requests at least. Statements that @effect/sql-sqlite-node keeps are
 * let go after ten minutes. The second half is compared with the end of the first: by then V8 has found its heap's size,
 * which is another one on each version of Node.js. A short run ends before that.
 */
const scale = isFull ? { seconds: 900, requests: 75_000, factor: 1.2 } : { seconds: 0, requests: 4_000, factor: 2 }
const clients = 16
const promise = "soak"

const residentKib = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])
const handles = (pid: number) => readdirSync(`/proc/${pid}/fd`).length

/** Makes one request, again if the server had closed the idle connection: then it has not read the request. */
const send = (daemon: Daemon, agent: Http.Agent | undefined, method: string, path: string, content?: unknown) =>
  sendRequest(daemon, method, path, { agent, content }).catch((error) => {
    const isUnread = error instanceof ConnectionLost && error.isReused && error.status === undefined
    if (!isUnread) throw error
    return sendRequest(daemon, method, path, { content })
  })

/** What all clients have seen. */
interface Books {
  readonly statuses: Map<number, number>
  /** Each call, as the OpenAPI document names it. */
  readonly calls: Set<string>
  readonly wrong: Array<string>
  requests: number
}

const pathOf = ({ name }: Vm) => `/v1/vms/${name}`

/** A client with records of its own, some ten at a time; it knows the right answer to each call. */
const client = async (daemon: Daemon, line: number, isOver: () => boolean, books: Books, sample: () => void) => {
  const mine = new Map<string, Vm>()
  const agent = new Http.Agent({ keepAlive: true })
  const ask = async (status: number, method: string, path: string, content?: unknown) => {
    const answer = await send(daemon, Math.random() < 0.5 ? agent : undefined, method, path, content)
    books.requests++
    books.statuses.set(answer.status, (books.statuses.get(answer.status) ?? 0) + 1)
    books.calls.add(`${method} ${path.replace(/\?.*/, "").replace(/^\/v1\/vms\/[^/]+/, "/v1/vms/{nameOrId}")}`)
    if (answer.status !== status) books.wrong.push(`${method} ${path}: ${answer.status} ${answer.text.slice(0, 200)}`)
    sample()
    return answer
  }
  const askVms = async (path: string): Promise<ReadonlyArray<Vm>> => JSON.parse((await ask(200, "GET", path)).text)
  const page = async (path: string): Promise<ReadonlyArray<Vm>> => {
    const { headers, text } = await ask(200, "GET", path)
    const next = /^<([^>]+)>; rel="next"$/.exec(String(headers["link"]))?.[1]
    return [...JSON.parse(text), ...(next === undefined ? [] : await page(next))]
  }
  const expectListed = (list: ReadonlyArray<Vm>, role?: string) => {
    const listed = new Map(list.map((vm) => [vm.id, vm]))
    for (const vm of mine.values()) {
      if ((role === undefined || vm.role === role) && !isDeepStrictEqual(listed.get(vm.id), vm)) {
        books.wrong.push(`${vm.name} is not listed as it is`)
      }
    }
    if (role !== undefined && list.some((vm) => vm.role !== role)) books.wrong.push(`more than ${role} is listed`)
  }
  /** Follows events until there is one of a record of its own, or for the first one alone. */
  const follow = async () => {
    const stream = await openEvents(daemon)
    books.requests++
    books.statuses.set(stream.status, (books.statuses.get(stream.status) ?? 0) + 1)
    books.calls.add("GET /v1/events")
    if ((await stream.next())?.event !== "ready") books.wrong.push("a stream of events does not begin with ready")
    const [known] = mine.values()
    if (known !== undefined) {
      await changeOrAct(known, 0)
      let event = await stream.next()
      while (event !== undefined && event.data !== JSON.stringify(mine.get(known.name))) event = await stream.next()
      if (event === undefined) books.wrong.push(`no event of ${known.name}`)
    }
    stream.close()
  }
  /** Changes a record, or asks of a VM what it can't do. */
  const changeOrAct = async (known: Vm, dice: number) => {
    const { name, role } = known
    const calls = [
      async () => {
        const { text } = await ask(200, "PATCH", pathOf(known), { role: role === "work" ? "portal" : "work" })
        mine.set(name, JSON.parse(text))
      },
      () => ask(200, "PUT", pathOf(known), { role }),
      () => ask(409, "POST", `${pathOf(known)}/start`),
      () => ask(409, "POST", `${pathOf(known)}/stop`),
      () => ask(200, "GET", `${pathOf(known)}/logs`),
      () => ask(200, "GET", `${pathOf(known)}/wait?state=created`)
    ]
    await calls[Math.floor(dice * 1e6) % calls.length]?.()
  }
  for (let n = 0; !isOver(); n++) {
    const known = Array.from(mine.values())[n % Math.max(1, mine.size)]
    const name = `soak-${line}-${n}`
    const dice = Math.random()
    if (known === undefined || (dice < 0.25 && mine.size < 20)) {
      const role = n % 3 === 0 ? "portal" : "work"
      mine.set(name, JSON.parse((await ask(201, "POST", "/v1/vms", { name, role })).text))
    } else if (dice < 0.42) {
      await ask(204, "DELETE", dice < 0.33 ? `/v1/vms/${known.id}` : pathOf(known))
      mine.delete(known.name)
    } else if (dice < 0.6) {
      const { text } = await ask(200, "GET", dice < 0.5 ? `/v1/vms/${known.id}` : pathOf(known))
      if (!isDeepStrictEqual(JSON.parse(text), known)) books.wrong.push(`${text} is no ${known.name}`)
    } else if (dice < 0.64) expectListed(await askVms("/v1/vms"))
    else if (dice < 0.66) expectListed(await askVms("/v1/vms?role=portal&state=created"), "portal")
    else if (dice < 0.67) expectListed(await page("/v1/vms?limit=100"))
    else if (dice < 0.68) await ask(400, "GET", `/v1/vms?cursor=${name}`)
    else if (dice < 0.69) await ask(200, "HEAD", "/v1/vms")
    else if (dice < 0.73) await ask(200, "GET", "/v1/health")
    else if (dice < 0.74) await ask(200, "GET", "/livez")
    else if (dice < 0.75) await ask(200, "GET", "/readyz")
    else if (dice < 0.76) await ask(200, "GET", "/metrics")
    else if (dice < 0.78) await ask(200, "GET", "/openapi.json")
    // It is larger than all else together.
    else if (dice < 0.782) await ask(200, "GET", "/docs")
    else if (dice < 0.82) await ask(409, "POST", "/v1/vms", { name: known.name })
    else if (dice < 0.84) await ask(404, "DELETE", `/v1/vms/${name}`)
    else if (dice < 0.86) await ask(404, "GET", `/v1/vms/${name}`)
    else if (dice < 0.9) await ask(400, "POST", "/v1/vms", { name: "Not A Label", more: "x".repeat(1000) })
    // The connection's end may overtake the answer, while the rest of the body is still being sent.
    else if (dice < 0.91) await changeOrAct(known, dice)
    else if (dice < 0.925) await ask(413, "POST", "/v1/vms", { name, more: "x".repeat(1_100_000) }).catch(() => {})
    else if (dice < 0.93) await ask(404, "GET", "/no/such/place")
    else if (dice < 0.935) await follow()
    else if (dice < 0.94) await ask(405, "PATCH", "/v1/health")
    else await dropped(daemon, dice)
  }
  agent.destroy()
  return Array.from(mine.values())
}

/** A connection that is closed by its client, before, within or after a request. */
const dropped = (daemon: Daemon, dice: number): Promise<void> =>
  new Promise((resolve) => {
    const socket = Net.connect(daemon.port, "127.0.0.1", () => {
      const request = `GET /v1/vms HTTP/1.1\r\nHost: ${daemon.address}\r\n\r\n`
      if (dice > 0.96) socket.write(request.slice(0, dice > 0.98 ? request.length : 20))
      // Some of them while the daemon is at it.
      setTimeout(() => (dice > 0.97 ? socket.destroy() : socket.end()), 5)
    })
    socket
      .on("error", () => {})
      .resume()
      .once("close", () => resolve())
  })

const length = isFull ? `${scale.seconds} s` : `${scale.requests} requests`
const name = `${length} of every call leak neither memory nor handles, and the books agree`
if (!hasProc) report({ promise, trials: name, asserted: "skipped", result: "skipped: needs /proc" })

const timeout = (isFull ? 2 : 1) * 1_000_000
it.skipIf(!hasProc)(hasProc ? name : `${name} (needs /proc)`, { timeout }, async () => {
  const home = makeHome(onTestFinished)
  const daemon = await startDaemon(home)
  const pid = daemon.child.pid ?? 0
  const books: Books = { statuses: new Map(), calls: new Set(), wrong: [], requests: 0 }
  const { text } = await sendRequest(daemon, "GET", "/openapi.json")
  await listVms(daemon)
  const began = performance.now()
  const progress = () =>
    Math.min(
      books.requests / scale.requests,
      scale.seconds === 0 ? 1 : (performance.now() - began) / 1_000 / scale.seconds
    )
  // One sample depends on when garbage was last collected; the highest of a span does not.
  const samples: Array<{ readonly at: number; readonly kib: number; readonly handles: number }> = []
  const sample = () => {
    if (books.requests % 50 === 0) samples.push({ at: progress(), kib: residentKib(pid), handles: handles(pid) })
  }
  const highest = (what: "kib" | "handles", from: number, to: number) =>
    samples.reduce((most, each) => (each.at >= from && each.at <= to ? Math.max(most, each[what]) : most), 0)
  const work = Array.from({ length: clients }, (_, line) => client(daemon, line, () => progress() >= 1, books, sample))
  const lists = await Promise.all(work).catch(async (error: unknown): Promise<never> => {
    // A connection may be lost because the daemon is: then its last words say why.
    const health = await sendRequest(daemon, "GET", "/v1/health").catch(() => undefined)
    const state = health === undefined ? `gone: ${daemon.said.stderr.slice(-2_000)}` : `there: ${health.text}`
    throw new Error(`after ${books.requests} requests: ${error}; nexusd is ${state}`)
  })
  const kept = lists.flat()
  const seconds = Math.round((performance.now() - began) / 1_000)

  const byId = (vms: ReadonlyArray<Vm>) => Array.from(vms).sort((a, b) => (a.id < b.id ? -1 : 1))
  expect(books.wrong.slice(0, 5)).toEqual([])
  expect(Array.from(books.statuses.keys()).filter((status) => status >= 500)).toEqual([])
  expect(byId(await listVms(daemon))).toEqual(byId(kept))
  const documented = Object.entries<object>(JSON.parse(text).paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`)
  )
  expect(Array.from(books.calls)).toEqual(expect.arrayContaining([...documented, "GET /openapi.json", "GET /docs"]))
  const { factor } = scale
  const [early, late] = [highest("kib", 3 / 8, 1 / 2), highest("kib", 7 / 8, Number.POSITIVE_INFINITY)]
  expect.soft(late / early, `memory, from ${early} KiB`).toBeLessThanOrEqual(factor)
  const handlesEarly = highest("handles", 0, 1 / 2)
  // The last connections are still being closed.
  const handlesLate = await vi.waitFor(
    () => {
      const count = handles(pid)
      expect(count).toBeLessThanOrEqual(handlesEarly)
      return count
    },
    { timeout: 30_000 }
  )
  expect((await daemon.stop()).code).toBe(0)
  report({
    promise,
    trials: `${seconds} s, ${clients} clients, ${books.requests} requests of every call, connections dropped in between`,
    asserted: `no 5xx, every answer right, memory in the second half at most ${factor} times that in the first, no handle more`,
    result:
      `VmRSS ${Math.round(early / 1024)} MiB, then ${Math.round(late / 1024)} MiB (${(late / early).toFixed(2)}); ` +
      `handles ${handlesEarly}, then ${handlesLate}; ${kept.length} records agree`
  })
})
