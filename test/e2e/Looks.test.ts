import * as Http from "node:http"
import { describe, it } from "vitest"
import { runCli, startCli } from "../support/Cli.js"
import { type AtEnd, type Environment, type Home, makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"
import type { Running } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { record } from "../support/Records.js"
import { hasTerminal, startOnTerminal } from "../support/Terminal.js"

const escape = "\u001b"
const green = (text: string) => `${escape}[32m${text}${escape}[39m`
const red = (text: string) => `${escape}[31m${text}${escape}[39m`

/** A daemon whose answers wait for `release`. `asked` resolves once that many requests wait. */
const serveHeld = async (atEnd: AtEnd, answer: (request: Http.IncomingMessage) => unknown) => {
  const held: Array<() => void> = []
  let onRequest = () => {}
  const server = Http.createServer((request, response) => {
    held.push(() =>
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer(request)))
    )
    onRequest()
  })
  const { address } = await listen(server, atEnd)
  const asked = (count: number) =>
    new Promise<void>((resolve) => {
      onRequest = () => held.length >= count && resolve()
      onRequest()
    })
  const release = () => {
    for (const respond of held.splice(0)) respond()
  }
  return { address, asked, release }
}

const serveRecords = async (atEnd: AtEnd) => {
  const states = { web: "running", db: "crashed", new: "created", odd: "running\u001b[31m" }
  const vms = Object.entries(states).map(([name, state]) => ({ ...record(name), state }))
  const server = Http.createServer(({ url = "" }, response) => {
    const vm = vms.find(({ name }) => url.endsWith(`/${name}`))
    const body = url === "/v1/vms" ? vms : (vm ?? { error: "not found", _tag: "NotFound" })
    const status = url === "/v1/vms" || vm !== undefined ? 200 : 404
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
  })
  return listen(server, atEnd)
}

/** Waits until a program has printed a text. */
const printedText = ({ child, ended, said }: Running, text: string) =>
  new Promise<void>((resolve, reject) => {
    const look = () => said.stdout.includes(text) && resolve()
    child.stdout?.on("data", look)
    ended.then(() => reject(new Error(`did not print ${JSON.stringify(text)}: ${said.stdout}`)), reject)
    look()
  })

const terminal: Environment = { TERM: "xterm-256color" }
const onTerminal = (home: Home, line: string, env: Environment = terminal) =>
  startOnTerminal(home, programs.nexusctl, line, { env })

/** What stays on a terminal: lines that were cleared do not. */
const remaining = (stdout: string) =>
  stdout
    .replaceAll("\r\n", "\n")
    .split("\n")
    .map((line) => line.split(`\r${escape}[K`).at(-1))
    .join("\n")

describe.concurrent("colours", { timeout: 60_000 }, () => {
  it.skipIf(!hasTerminal)(
    "are for states and errors on a terminal (needs script)",
    async ({ expect, onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const { address } = await serveRecords(onTestFinished)
      const run = async (line: string, env?: Environment) =>
        remaining((await onTerminal(home, `${line} --daemon ${address}`, env).ended).stdout)
      const list = await run("vm list")
      const [, web, db, created, odd] = list.split("\n")
      expect(web).toContain(` ${green("running")}   `)
      expect(web?.replace(green("running"), "running").indexOf("128M")).toBe(odd?.indexOf("128M"))
      expect(db).toContain(` ${red("crashed")}   `)
      expect(created).not.toContain(escape)
      expect(odd).toContain("running\\x1b[31m")
      expect(odd).not.toContain(escape)
      expect(await run("vm inspect web")).toContain(`\nState:      ${green("running")}\n`)
      expect(await run("vm inspect ghost")).toBe(`${red("Error:")} VM "ghost" not found\n`)
      expect(await run("vm lst")).toContain(`${red("Error:")} unknown command 'lst'`)
      for (const line of ["vm list -o json", "vm list -o yaml", "vm list -o name", "vm list --color=never"]) {
        expect(await run(line), line).not.toContain(escape)
      }
      expect(await run("vm list", { ...terminal, NO_COLOR: "1" })).not.toContain(escape)
      expect(await run("vm list", { TERM: "dumb" })).not.toContain(escape)
      expect(await run("vm list", {})).not.toContain(escape)
      expect(await run("vm list", { ...terminal, NO_COLOR: "" })).toContain(green("running"))
      expect(await run("vm list --color=always", { ...terminal, NO_COLOR: "1" })).toContain(green("running"))
    }
  )

  it("are not in a pipe, unless they are asked for", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { address } = await serveRecords(onTestFinished)
    const run = (...args: ReadonlyArray<string>) => runCli(home, [...args, "--daemon", address], { env: terminal })
    expect((await run("vm", "list")).stdout).not.toContain(escape)
    expect((await run("vm", "list", "--color", "always")).stdout).toContain(green("running"))
    expect((await run("vm", "inspect", "x", "--color=always")).stderr).toBe(`${red("Error:")} VM "x" not found\n`)
    expect((await run("vm", "inspect", "x", "--color=always", "-o", "json")).stderr).not.toContain(escape)
    expect(await run("vm", "list", "--color", "allways")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected one of auto, always, never, got "allways"; did you mean always?')
    })
  })
})

describe.skipIf(!hasTerminal).concurrent("a wait for the daemon (needs script)", { timeout: 60_000 }, () => {
  it("is shown on a terminal, cleared before the answer, and never in a pipe", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { address, asked, release } = await serveHeld(onTestFinished, () => [])
    const line = ["vm", "list", "--daemon", address, "--timeout", "60"]
    const inPipe = startCli(home, line, { env: terminal })
    const withPipe = onTerminal(home, `${line.join(" ")} | cat`)
    const dumb = onTerminal(home, line.join(" "), { TERM: "dumb" })
    await asked(3)
    // It asks last, so that the others wait for longer than it does.
    const shown = onTerminal(home, line.join(" "))
    await printedText(shown, `/ Waiting for ${address}`)
    release()
    expect(await inPipe.ended).toEqual({ code: 0, stdout: "No VMs found.\n", stderr: "" })
    expect((await withPipe.ended).stdout).toBe("No VMs found.\r\n")
    expect((await dumb.ended).stdout).toBe("No VMs found.\r\n")
    const { code, stdout } = await shown.ended
    expect(code).toBe(0)
    expect(remaining(stdout)).toBe("No VMs found.\n")
  })

  it("is cleared before an error, and after Ctrl-C", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { address, release } = await serveHeld(onTestFinished, () => "no record")
    const line = `vm inspect web --color never --timeout 60 --daemon ${address}`
    const failing = onTerminal(home, line)
    const interrupted = startOnTerminal(home, programs.nexusctl, line, { env: terminal, stdin: "open" })
    await Promise.all([failing, interrupted].map((running) => printedText(running, "Waiting")))
    interrupted.child.stdin?.write("\u0003")
    const { code, stdout } = await interrupted.ended
    expect({ code, last: remaining(stdout) }).toEqual({ code: 130, last: "" })
    release()
    expect(remaining((await failing.ended).stdout)).toMatch(/^Error: cannot inspect VM "web"\n {2}[^\n]*\n$/)
  })

  it("shows the progress of apply", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const present = new Set<string>()
    const { address, asked, release } = await serveHeld(onTestFinished, ({ method, url = "" }) => {
      const name = url.split("/").at(-1) ?? ""
      if (method === "PUT") present.add(name)
      return method === "GET" ? [] : record(name)
    })
    home.write("vms.yaml", "[{ name: a }, { name: b }]\n")
    const running = onTerminal(home, `apply -f vms.yaml --timeout 60 --daemon ${address}`)
    await asked(1)
    release()
    await printedText(running, "Waiting")
    await asked(1)
    release()
    await printedText(running, "Applied: 1 of 2")
    await asked(1)
    release()
    const { code, stdout } = await running.ended
    expect(remaining(stdout)).toBe('VM "a" created\nVM "b" created\n')
    expect(code).toBe(0)
    expect(Array.from(present)).toEqual(["a", "b"])
  })
})
