import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { type Answer, sendBytes } from "../support/HttpBytes.js"
import { call } from "../support/HttpJson.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { routes, type Trial, trialsOf } from "./CrossOriginTrials.js"
import { report } from "./Report.js"

const send = async ({ port }: Daemon, { head, route }: Trial, name: string): Promise<Answer> => {
  const body = route.method === "POST" ? JSON.stringify({ name }) : "{}"
  const rest = route.hasBody ? `Content-Length: ${body.length}\r\n\r\n${body}` : "\r\n"
  const [answer] = await Effect.runPromise(sendBytes({ host: "127.0.0.1", port }, head(name) + rest))
  if (answer === undefined) throw new Error(`no answer to ${head(name)}`)
  return answer
}

/** What is wrong with an answer, whatever its status. */
const faultsOf = ({ body, headers, status }: Answer): ReadonlyArray<string> => [
  ...Object.keys(headers).filter((name) => name.startsWith("access-control-")),
  ...(headers["x-content-type-options"] === "nosniff" ? [] : ["no nosniff"]),
  ...(status < 400 || typeof JSON.parse(body).error === "string" ? [] : ["no error"])
]

const runConcurrently = async <A>(
  items: ReadonlyArray<A>,
  width: number,
  use: (item: A, index: number) => Promise<void>
) => {
  const queue = items.entries()
  const work = async () => {
    for (const [index, item] of queue) await use(item, index)
  }
  await Promise.all(Array.from({ length: width }, work))
}

/** Sends all trials: first those that must be refused, which must not change the records. */
const tryAll = async (daemon: Daemon, all: ReadonlyArray<Trial>) => {
  const wrong: Array<string> = []
  const judge = ({ statuses, what }: Trial, answer: Answer) => {
    const faults = [...faultsOf(answer), ...(statuses.includes(answer.status) ? [] : [`status ${answer.status}`])]
    if (faults.length > 0) wrong.push(`${what}: ${faults.join(", ")}; ${statuses.join(" or ")} is right`)
  }
  await createVm(daemon, "web")
  const before = await listVms(daemon)
  const isRefused = ({ statuses }: Trial) => statuses.some((status) => status === 403 || status === 415)
  await runConcurrently(all.filter(isRefused), 8, async (trial, index) => {
    judge(trial, await send(daemon, trial, trial.route.method === "DELETE" ? "web" : `refused-${index}`))
  })
  const after = await listVms(daemon)
  const allowed = all.filter((trial) => !isRefused(trial))
  await runConcurrently(allowed, 4, async (trial, index) => {
    const name = `allowed-${index}`
    if (trial.route.method === "DELETE") await createVm(daemon, name)
    judge(trial, await send(daemon, trial, name))
    if (trial.statuses.includes(201)) await call(daemon, "DELETE", `/v1/vms/${name}`)
  })
  const last = await listVms(daemon)
  expect.soft(wrong.length, wrong.slice(0, 20).join("\n")).toBe(0)
  expect.soft(after.length, "records after what was refused").toBe(before.length)
  for (const now of [after, last]) expect.soft(JSON.stringify(now), "records changed").toBe(JSON.stringify(before))
  return { refused: all.length - allowed.length, allowed: allowed.length }
}

describe("cross-origin protection", () => {
  it("accepts or refuses every combination of headers by the table", { timeout: 600_000 }, async ({
    onTestFinished
  }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const all = trialsOf(daemon.port)
    const { allowed, refused } = await tryAll(daemon, all)
    expect(refused).toBeGreaterThan(40 * routes.length)
    report({
      promise: "1, 2. cross-origin protection, media type",
      trials: `${all.length} combinations of Host, Origin, Sec-Fetch-Site and Content-Type on ${routes.length} routes`,
      asserted: "403 or 415 as an independent table says, JSON error, no CORS header, nosniff, records unchanged",
      result: `${refused} refused, ${allowed} allowed, 0 state changes`
    })
  })

  it("accepts the names of api.allowed_hosts, with or without a port", { timeout: 600_000 }, async (test) => {
    const daemon = await startDaemon(makeHome(test.onTestFinished), { config: "api: { allowed_hosts: [Nexus.LAN] }" })
    await tryAll(
      daemon,
      trialsOf(daemon.port, "nexus.lan").filter(({ what }) => what.includes("nexus.lan"))
    )
  })

  it("refuses malformed and foreign requests with JSON errors", async ({ onTestFinished }) => {
    const { port } = await startDaemon(makeHome(onTestFinished))
    const heads = [
      "GET /v1/vms HTTP/1.1\r\nConnection: close\r\n\r\n",
      "GET /v1/vms HTTP/1.0\r\n\r\n",
      "GET\r\n\r\n",
      `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\nX: ${"x".repeat(20_000)}\r\n\r\n`,
      "GET /v1/vms HTTP/1.1\r\nHost: evil.example\r\nExpect: tea\r\nConnection: close\r\n\r\n"
    ]
    for (const head of heads) {
      const [answer] = await Effect.runPromise(sendBytes({ host: "127.0.0.1", port }, head))
      if (answer === undefined) throw new Error(`no answer to ${head}`)
      expect.soft(faultsOf(answer), head.slice(0, 80)).toEqual([])
      expect.soft([400, 403, 417, 431], head.slice(0, 80)).toContain(answer.status)
    }
  })
})
