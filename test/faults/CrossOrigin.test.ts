import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { afterAll, describe, expect, it } from "vitest"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { type Answer, sendBytes } from "../support/HttpBytes.js"
import { call } from "../support/HttpJson.js"
import { createVm, listVms } from "../support/VmCalls.js"
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
  const elsewhere = /^localhost:/i.test(name) ? `127.0.0.1:${port}` : `localhost:${port}`
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
  hostsOf(port, allowedName).flatMap((host, h) =>
    originsOf(host, port).flatMap((origin, o) =>
      sites.flatMap((site, s) =>
        routes.flatMap((route) =>
          (route.hasBody ? types : [undefined]).flatMap((type, t): ReadonlyArray<Trial> => {
            const others = [o, s, t].filter((index) => index > 0).length
            // At short scale, a host meets a few of the other parts, one at a time.
            if (!isFull && (others > 1 || (others === 1 && h > 0 && (h + o + s + t) % 5 > 0))) return []
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
  const letIn = all.filter((trial) => !isRefused(trial))
  await inTurn(letIn, 4, async (trial, index) => {
    const name = `let-in-${index}`
    if (trial.route.method === "DELETE") await createVm(daemon, name)
    judge(trial, await send(daemon, trial, name))
    if (trial.statuses.includes(201)) await call(daemon, "DELETE", `/v1/vms/${name}`)
  })
  const last = await listVms(daemon)
  expect.soft(wrong.length, wrong.slice(0, 20).join("\n")).toBe(0)
  expect.soft(after.length, "records after what was refused").toBe(before.length)
  for (const now of [after, last]) expect.soft(JSON.stringify(now), "records changed").toBe(JSON.stringify(before))
  return { refused: all.length - letIn.length, allowed: letIn.length }
}

const hasChromium = spawnSync("chromium", ["--version"]).status === 0

const folder = mkdtempSync(join(tmpdir(), "nexus-chromium-"))

afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))

/** Opens a page; `--dump-dom` prints it and ends, without it Chromium runs until it is stopped. */
const openPage = (url: string, ...more: ReadonlyArray<string>) => {
  const profile = mkdtempSync(join(folder, "profile-"))
  const flags =
    "headless no-sandbox no-proxy-server disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"
  const child = spawn(
    "chromium",
    [
      ...flags.split(" ").map((flag) => `--${flag}`),
      `--user-data-dir=${profile}`,
      // The name of a page whose owner points it at this machine: DNS rebinding.
      "--host-resolver-rules=MAP evil.example 127.0.0.1",
      "--enable-logging=stderr",
      ...more,
      url
    ],
    // A group of its own, so that the processes it starts end with it.
    {
      detached: true,
      env: { PATH: process.env["PATH"], HOME: profile, TMPDIR: profile },
      stdio: ["ignore", "pipe", "pipe"]
    }
  )
  const said = { stdout: "", stderr: "" }
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said.stdout += text
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said.stderr += text
  })
  const ended = new Promise<typeof said>((resolve) => child.once("close", () => resolve(said)))
  const stop = async () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL")
    } catch {
      // It has ended by itself.
    }
    await ended
  }
  return { ended, stop }
}

const listenOn = async (handler: Http.RequestListener, atEnd: (dispose: () => void) => void) => {
  const server = Http.createServer(handler)
  atEnd(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return (server.address() as AddressInfo).port
}

/** Runs in the browser: tries all that a page can try against each target, and tells its own server what it got. */
const attack = `async (targets) => {
  const outcomes = []
  let count = 0
  const json = () => JSON.stringify({ name: "evil-" + count++ })
  const make = (tag, fields) => Object.assign(document.createElement(tag), fields)
  const settle = (element, act = () => {}) =>
    new Promise((resolve) => {
      element.onload = () => resolve("load")
      element.onerror = () => resolve("error")
      setTimeout(resolve, 2000, "silence")
      document.body.append(element)
      act()
    })
  for (const target of targets) {
    const url = target + "/v1/vms"
    const calls = [
      ["GET", url, {}],
      ["GET no-cors", url, { mode: "no-cors" }],
      ["GET with credentials", url + "/web", { credentials: "include" }],
      ["POST json", url, { method: "POST", headers: { "content-type": "application/json" }, body: json() }],
      ["POST text", url, { method: "POST", body: json() }],
      ["POST text no-cors", url, { method: "POST", mode: "no-cors", body: json() }],
      ["POST untyped no-cors", url, { method: "POST", mode: "no-cors", body: new Blob([json()]) }],
      ["POST keepalive", url, { method: "POST", mode: "no-cors", keepalive: true, body: json() }],
      ["DELETE", url + "/web", { method: "DELETE" }]
    ]
    for (const [what, to, init] of calls) {
      const text = await fetch(to, init).then((response) => response.text(), () => "")
      outcomes.push(what + ": " + text)
    }
    navigator.sendBeacon(url, json())
    outcomes.push("script: " + ((await settle(make("script", { src: url }))) === "load" ? "ran" : ""))
    outcomes.push("img: " + ((await settle(make("img", { src: url + "/web" }))) === "load" ? "shown" : ""))
    for (const enctype of ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]) {
      const name = "frame-" + count++
      const frame = make("iframe", { name })
      const form = make("form", { action: url, method: "POST", enctype, target: name })
      // As text/plain this is sent as {"name":"evil-form","x":"="}.
      form.append(make("input", { name: '{"name":"evil-form","x":"', value: '"}' }))
      document.body.append(form)
      await settle(frame, () => form.submit())
      let text = ""
      try { text = frame.contentDocument.body.textContent } catch {}
      outcomes.push("form " + enctype + ": " + text)
    }
  }
  await fetch("/outcomes", { method: "POST", body: JSON.stringify(outcomes) })
}`

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
      result: `${refused} refused, ${allowed} let in, 0 state changes`
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

describe.skipIf(!hasChromium)("cross-origin protection: a real page (needs chromium on PATH)", () => {
  it("neither reads nor writes, from any other origin", { timeout: 120_000 }, async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    await createVm(daemon, "web")
    const before = await listVms(daemon)

    // A server without a wall, which shows that the page does what it is said to do.
    const reached: Array<string> = []
    const open = await listenOn((request, response) => {
      request.resume().once("end", () => {
        reached.push(`${request.method} ${request.headers["content-type"] ?? ""}`)
        const { origin = "*" } = request.headers
        response.writeHead(200, {
          "access-control-allow-origin": origin,
          "access-control-allow-credentials": "true",
          "access-control-allow-methods": "DELETE",
          "access-control-allow-headers": "content-type"
        })
        response.end('"secret"')
      })
    }, onTestFinished)

    const own: { onOutcomes?: (outcomes: ReadonlyArray<string>) => void } = {}
    const attackers = await listenOn((request, response) => {
      let body = ""
      request.setEncoding("utf8").on("data", (text: string) => {
        body += text
      })
      request.once("end", () => {
        if (request.url === "/outcomes") own.onOutcomes?.(JSON.parse(body))
        const targets = request.url === "/control" ? [open] : [daemon.port]
        const urls = targets.flatMap((port) => [`http://127.0.0.1:${port}`, `http://evil.example:${port}`])
        response.writeHead(200, { "content-type": "text/html" })
        response.end(`<body><script>(${attack})(${JSON.stringify(urls)})</script>`)
      })
    }, onTestFinished)

    const visit = async (url: string) => {
      const outcomes = new Promise<ReadonlyArray<string>>((resolve) => {
        own.onOutcomes = resolve
      })
      const page = openPage(url)
      onTestFinished(page.stop)
      const died = page.ended.then(({ stderr }): never => {
        throw new Error(`chromium ended: ${stderr}`)
      })
      const result = await Promise.race([outcomes, died])
      died.catch(() => {})
      await page.stop()
      return result
    }
    const control = await visit(`http://127.0.0.1:${attackers}/control`)
    expect(control.filter((outcome) => outcome.includes("secret")).length).toBeGreaterThanOrEqual(10)
    expect(new Set(reached.map((line) => line.split(";")[0]))).toEqual(
      new Set([
        "GET ",
        "OPTIONS ",
        "DELETE ",
        "POST ",
        "POST application/json",
        "POST text/plain",
        "POST multipart/form-data",
        "POST application/x-www-form-urlencoded"
      ])
    )

    let tried = 0
    for (const name of ["127.0.0.1", "localhost", "evil.example"]) {
      const outcomes = await visit(`http://${name}:${attackers}/`)
      tried += outcomes.length
      expect.soft(outcomes.length).toBe(control.length)
      expect
        .soft(
          outcomes.filter((outcome) => !outcome.endsWith(": ")),
          `a page from ${name} read this`
        )
        .toEqual([])
      expect.soft(await listVms(daemon), `a page from ${name} wrote`).toStrictEqual(before)
    }
    report({
      promise: "1. cross-origin protection",
      trials: `${tried} calls, forms, images and scripts of a page in Chromium, from 3 other origins`,
      asserted: "it reads nothing, the records are unchanged; the same page gets through to a server without a wall",
      result: "0 reads, 0 writes"
    })
  })

  it("is the daemon's own: it renders, and the console is empty", { timeout: 60_000 }, async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const noisy = await listenOn((_, response) => {
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": "script-src 'none'" })
      response.end("<script>1</script>")
    }, onTestFinished)
    const consoleOf = (stderr: string) => stderr.split("\n").filter((line) => line.includes("CONSOLE"))
    const show = async (url: string) => {
      const page = openPage(url, "--virtual-time-budget=10000", "--dump-dom")
      onTestFinished(page.stop)
      return page.ended
    }
    const control = await show(`http://127.0.0.1:${noisy}/`)
    expect(consoleOf(control.stderr).join()).toContain("Content Security Policy")

    const { stderr, stdout } = await show(`${daemon.url}/docs`)
    expect(consoleOf(stderr)).toEqual([])
    for (const part of ["swagger-ui", "opblock-summary", "/v1/vms/{nameOrId}", "Create a VM record"]) {
      expect(stdout.replace(/\u200b|<wbr>/g, ""), part).toContain(part)
    }
  })
})
