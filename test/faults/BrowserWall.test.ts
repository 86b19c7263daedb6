import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { afterAll, describe, expect, it } from "vitest"
import { call, createVm, type Daemon, listVms, makeHome, startDaemon } from "../support/Processes.js"
import { type Answer, sendBytes } from "../support/TestServer.js"
import { isFull, report } from "./Report.js"

/** What a request says of where it comes from, and whether the wall lets that in. */
interface Part {
  readonly what: string
  readonly isAllowed: boolean
}
interface Host extends Part {
  /** Values of its Host headers. */
  readonly hosts: ReadonlyArray<string>
  /** Put before the path in the target. */
  readonly authority?: string
}
interface Field extends Part {
  readonly value: string | undefined
}

/** The name that a browser would take for the daemon's: that of the target, else of the Host header. */
const nameOf = ({ authority, hosts }: Host) => authority?.replace(/^http:\/\//, "") ?? hosts[0] ?? ""

const hostsOf = (port: number, allowedName?: string): ReadonlyArray<Host> => {
  const own = `127.0.0.1:${port}`
  const other = port === 65_535 ? 1024 : port + 1
  const allowed = [own, `localhost:${port}`, `[::1]:${port}`, `LocalHost:${port}`]
  const refused = [
    `127.0.0.1:${other}`,
    `localhost:${other}`,
    `[::1]:${other}`,
    "127.0.0.1",
    "localhost",
    "[::1]",
    "evil.example",
    `evil.example:${port}`,
    `EVIL.EXAMPLE:${port}`,
    `127.0.0.1.evil.example:${port}`,
    `evil.example.127.0.0.1:${port}`,
    `localhost.evil.example:${port}`,
    `192.0.2.7:${port}`,
    `0.0.0.0:${port}`,
    `2130706433:${port}`,
    `localhost.:${port}`,
    `${own}@evil.example`,
    `evil.example@${own}`,
    `${own}, evil.example`,
    `${own}/`,
    ""
  ]
  return [
    ...allowed.map((host) => ({ what: `Host ${host}`, hosts: [host], isAllowed: true })),
    ...refused.map((host) => ({ what: `Host ${JSON.stringify(host)}`, hosts: [host], isAllowed: false })),
    { what: "Host own, then evil.example", hosts: [own, "evil.example"], isAllowed: false },
    { what: "Host evil.example, then own", hosts: ["evil.example", own], isAllowed: false },
    { what: "target of evil.example", hosts: [own], authority: `http://evil.example:${port}`, isAllowed: false },
    { what: "target of its own", hosts: [own], authority: `http://${own}`, isAllowed: true },
    { what: "Host nexus.lan", hosts: ["nexus.lan"], isAllowed: allowedName === "nexus.lan" },
    { what: "Host nexus.lan with port", hosts: [`nexus.lan:${port}`], isAllowed: allowedName === "nexus.lan" },
    { what: "Host below nexus.lan", hosts: ["a.nexus.lan"], isAllowed: false }
  ]
}

/** RFC 6454: the page's scheme, name and port. The daemon may stand behind a proxy that speaks TLS for its name. */
const originsOf = (host: Host, port: number): ReadonlyArray<Field> => {
  const name = nameOf(host)
  const elsewhere = name.startsWith("localhost") ? `127.0.0.1:${port}` : `localhost:${port}`
  return [
    { what: "no Origin", value: undefined, isAllowed: true },
    { what: "own Origin", value: `http://${name}`, isAllowed: true },
    { what: "own Origin over TLS", value: `https://${name}`, isAllowed: true },
    { what: "foreign Origin", value: "http://evil.example", isAllowed: false },
    { what: "Origin null", value: "null", isAllowed: false },
    { what: "own Origin on another port", value: "http://127.0.0.1:1", isAllowed: false },
    { what: "own Origin under another name", value: `http://${elsewhere}`, isAllowed: false }
  ]
}

const sites: ReadonlyArray<Field> = [undefined, "same-origin", "none", "same-site", "cross-site"].map((value) => ({
  what: value === undefined ? "no Sec-Fetch-Site" : `Sec-Fetch-Site ${value}`,
  value,
  isAllowed: value !== "same-site" && value !== "cross-site"
}))

const types: ReadonlyArray<Field> = [
  { value: "application/json", isAllowed: true },
  { value: "application/json; charset=utf-8", isAllowed: true },
  { value: "text/plain", isAllowed: false },
  { value: "application/x-www-form-urlencoded", isAllowed: false },
  { value: "multipart/form-data; boundary=x", isAllowed: false },
  { value: undefined, isAllowed: false }
].map((type) => ({ ...type, what: type.value ?? "no Content-Type" }))

interface Route {
  readonly method: string
  readonly path: string
  /** The answer to a request that may come in. */
  readonly status: number
  readonly hasBody?: boolean
}

const routes: ReadonlyArray<Route> = [
  { method: "GET", path: "/v1/vms", status: 200 },
  { method: "POST", path: "/v1/vms", status: 201, hasBody: true },
  { method: "GET", path: "/v1/vms/web", status: 200 },
  { method: "DELETE", path: "/v1/vms/", status: 204 },
  { method: "DELETE", path: "/v1/vms/", status: 204, hasBody: true },
  { method: "GET", path: "/v1/health", status: 200 },
  { method: "GET", path: "/openapi.json", status: 200 },
  { method: "GET", path: "/docs", status: 200 },
  { method: "GET", path: "/unknown", status: 404 },
  { method: "POST", path: "/unknown", status: 404, hasBody: true }
]

interface Trial {
  readonly what: string
  readonly route: Route
  /** The answers that are right. */
  readonly statuses: ReadonlyArray<number>
  readonly head: (name: string) => string
}

const trialsOf = (port: number, allowedName?: string): ReadonlyArray<Trial> =>
  hostsOf(port, allowedName).flatMap((host) =>
    originsOf(host, port).flatMap((origin, o) =>
      sites.flatMap((site, s) =>
        routes.flatMap((route) =>
          (route.hasBody ? types : [undefined]).flatMap((type, t): ReadonlyArray<Trial> => {
            // At short scale, each host meets each other part alone.
            if (!isFull && [o, s, t].filter((index) => index > 0).length > 1) return []
            const isIn = [host, origin, site].every(({ isAllowed }) => isAllowed)
            const statuses = !isIn ? [403] : type === undefined || type.isAllowed ? [route.status] : [415]
            const fields: ReadonlyArray<readonly [string, string | undefined]> = [
              ...host.hosts.map((value) => ["Host", value] as const),
              ["Origin", origin.value],
              ["Sec-Fetch-Site", site.value],
              ["Content-Type", type?.value]
            ]
            const lines = fields.flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`]))
            const { method, path } = route
            return [
              {
                what: [`${method} ${path}`, host.what, origin.what, site.what, type?.what].join(", "),
                route,
                // RFC 9112, 3.2: two Host headers are a malformed request.
                statuses: host.hosts.length > 1 ? [400, 403] : statuses,
                head: (name) =>
                  `${method} ${host.authority ?? ""}${path}${path.endsWith("/") ? name : ""} HTTP/1.1\r\n` +
                  `${lines.join("")}Connection: close\r\n`
              }
            ]
          })
        )
      )
    )
  )

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

const inTurn = async <A>(items: ReadonlyArray<A>, width: number, use: (item: A, index: number) => Promise<void>) => {
  const queue = items.entries()
  const work = async () => {
    for (const [index, item] of queue) await use(item, index)
  }
  await Promise.all(Array.from({ length: width }, work))
}

/** Sends all trials: first those to be refused, over which the records must stay as they are. */
const tryAll = async (daemon: Daemon, all: ReadonlyArray<Trial>) => {
  const wrong: Array<string> = []
  const judge = ({ statuses, what }: Trial, answer: Answer) => {
    const faults = [...faultsOf(answer), ...(statuses.includes(answer.status) ? [] : [`status ${answer.status}`])]
    if (faults.length > 0) wrong.push(`${what}: ${faults.join(", ")}; ${statuses.join(" or ")} is right`)
  }
  await createVm(daemon, "web")
  const before = await listVms(daemon)
  const isRefused = ({ statuses }: Trial) => statuses.some((status) => status === 403 || status === 415)
  await inTurn(all.filter(isRefused), 8, async (trial, index) => {
    judge(trial, await send(daemon, trial, trial.route.method === "DELETE" ? "web" : `refused-${index}`))
  })
  const after = await listVms(daemon)
  const let_in = all.filter((trial) => !isRefused(trial))
  await inTurn(let_in, 4, async (trial, index) => {
    const name = `let-in-${index}`
    if (trial.route.method === "DELETE") await createVm(daemon, name)
    judge(trial, await send(daemon, trial, name))
    if (trial.statuses.includes(201)) await call(daemon, "DELETE", `/v1/vms/${name}`)
  })
  const last = await listVms(daemon)
  expect.soft(wrong.length, wrong.slice(0, 20).join("\n")).toBe(0)
  expect.soft(after).toStrictEqual(before)
  expect.soft(last).toStrictEqual(before)
  return { refused: all.length - let_in.length, allowed: let_in.length }
}
