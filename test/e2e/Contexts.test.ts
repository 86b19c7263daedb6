import { chmodSync } from "node:fs"
import * as Http from "node:http"
import { describe, it } from "vitest"
import { runCli } from "../support/Cli.js"
import { type AtEnd, type Environment, type Home, makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"

/** A daemon without records that keeps the token of each request. */
const serve = async (atEnd: AtEnd) => {
  const tokens: Array<string | undefined> = []
  const server = Http.createServer(({ headers }, response) => {
    tokens.push(headers.authorization?.replace("Bearer ", ""))
    response.writeHead(200, { "content-type": "application/json" }).end("[]")
  })
  const { address } = await listen(server, atEnd)
  /** Takes the tokens of the requests since the last look. */
  const taken = () => tokens.splice(0)
  return { address, taken }
}

const writeToken = (home: Home, name: string) => {
  const token = `token-of-${name}`.padEnd(20, "x")
  const file = home.write(name, token)
  chmodSync(file, 0o600)
  return { file, token }
}

const settingsFile = "config/nexusctl/config.yaml"

describe.concurrent("contexts", { timeout: 60_000 }, () => {
  it("name a daemon, with the precedence --daemon, --context, NEXUS_DAEMON, current, daemon", async ({
    expect,
    onTestFinished
  }) => {
    const home = makeHome(onTestFinished)
    const [byDaemon, byContext, byVariable, byCurrent, byKey] = await Promise.all(
      Array.from({ length: 5 }, () => serve(onTestFinished))
    )
    if (!(byDaemon && byContext && byVariable && byCurrent && byKey)) throw new Error("no servers")
    const servers = { byDaemon, byContext, byVariable, byCurrent, byKey }
    const asked = async (args: ReadonlyArray<string>, env: Environment = {}) => {
      const { code, stderr } = await runCli(home, ["vm", "list", ...args], { env })
      const names = Object.entries(servers).flatMap(([name, { taken }]) => taken().map(() => name))
      return code === 0 ? names.join() : `${names.join()} ${code}: ${stderr}`
    }
    const contexts = `daemon: "${byKey.address}"
contexts:
  lab: { daemon: "${byContext.address}" }
  home-2.x: { daemon: "${byCurrent.address}" }
`
    home.write(settingsFile, contexts)
    const variable = { NEXUS_DAEMON: byVariable.address }
    expect(await asked([])).toBe("byKey")
    home.write(settingsFile, `${contexts}current: home-2.x\n`)
    expect(await asked([])).toBe("byCurrent")
    expect(await asked([], { NEXUS_DAEMON: "" })).toBe("byCurrent")
    expect(await asked([], variable)).toBe("byVariable")
    expect(await asked(["--context", "lab"], variable)).toBe("byContext")
    expect(await asked(["--context=home-2.x"], variable)).toBe("byCurrent")
    expect(await asked(["--daemon", byDaemon.address], variable)).toBe("byDaemon")
    expect(await asked(["--daemon", byDaemon.address, "--context", "lab"])).toBe(
      " 2: Error: --context and --daemon exclude each other: both say which daemon is meant\n  See: nexusctl --help\n"
    )
  })

  it("have their tokens sent to their own addresses alone", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const [lab, work, other] = await Promise.all([serve(onTestFinished), serve(onTestFinished), serve(onTestFinished)])
    const labToken = writeToken(home, "lab-token")
    const workToken = writeToken(home, "work-token")
    home.write(
      settingsFile,
      `daemon: "${work.address}"
token_file: ${workToken.file}
contexts:
  lab: { daemon: "${lab.address}", token_file: ${labToken.file} }
  other: { daemon: "${other.address}" }
`
    )
    const sent = async (args: ReadonlyArray<string>, env: Environment = {}) => {
      expect(await runCli(home, ["vm", "list", ...args], { env })).toMatchObject({ code: 0 })
      return { lab: lab.taken(), work: work.taken(), other: other.taken() }
    }
    const none = { lab: [], work: [], other: [] }
    expect(await sent([])).toEqual({ ...none, work: [workToken.token] })
    expect(await sent(["--context", "lab"])).toEqual({ ...none, lab: [labToken.token] })
    expect(await sent(["--context", "other"])).toEqual({ ...none, other: [undefined] })
    // An address from elsewhere gets the token beside it in the file, and no other.
    expect(await sent(["--daemon", other.address])).toEqual({ ...none, other: [undefined] })
    expect(await sent([], { NEXUS_DAEMON: other.address })).toEqual({ ...none, other: [undefined] })
    expect(await sent(["--daemon", lab.address])).toEqual({ ...none, lab: [labToken.token] })
    expect(await sent([], { NEXUS_DAEMON: work.address })).toEqual({ ...none, work: [workToken.token] })
    // These two say themselves where they go.
    expect(await sent(["--context", "other", "--token-file", labToken.file])).toEqual({
      ...none,
      other: [labToken.token]
    })
    expect(await sent(["--context", "lab"], { NEXUS_TOKEN: workToken.token })).toEqual({
      ...none,
      lab: [workToken.token]
    })
    // Without an address beside it, a token is for a daemon of this host, but for none that has a name.
    home.write(settingsFile, `token_file: ${workToken.file}\ncontexts: { lab: { daemon: "${lab.address}" } }\n`)
    expect(await sent(["--daemon", other.address])).toEqual({ ...none, other: [workToken.token] })
    expect(await sent(["--context", "lab"])).toEqual({ ...none, lab: [undefined] })
  })

  it("do not send a token without an address beside it to another host", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    // This token can't be used, so a command that would send it fails before it sends anything.
    home.write(settingsFile, "token_file: missing\n")
    expect(await runCli(home, ["vm", "list", "--daemon", "127.0.0.1:1"])).toMatchObject({ code: 2 })
    expect(await runCli(home, ["vm", "list", "--daemon", "nowhere.invalid:1"])).toMatchObject({ code: 3 })
  })

  const unusable = [
    ["an unknown name", "lax", "contexts: { lab: { daemon: 127.0.0.1:1 }, prod: { daemon: 127.0.0.1:2 } }"],
    ["any name where there are none", "lab", ""],
    ["a name that every object has", "constructor", "contexts: { lab: { daemon: 127.0.0.1:1 } }"]
  ] as const
  for (const [title, name, settings] of unusable) {
    it(`exit 2: ${title}`, async ({ expect, onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const file = home.write(settingsFile, settings)
      const names = settings.includes("prod") ? "expected one of lab, prod; did you mean lab?" : expect.anything()
      const { code, stderr } = await runCli(home, ["vm", "list", "--context", name])
      const [, problem] = new RegExp(`^Error: --context: unknown context "${name}": (.*)\\n$`).exec(stderr) ?? []
      expect({ code, problem }).toEqual({ code: 2, problem: names })
      home.write(settingsFile, `${settings}\ncurrent: ${name}\n`)
      const current = await runCli(home, ["version", "--daemon", "127.0.0.1:1"])
      expect(current).toMatchObject({ code: 2, stdout: "" })
      expect(current.stderr).toContain(`Error: ${file}: current: unknown context "${name}"`)
    })
  }

  const badFiles = [
    ["contexts: [lab]\n", "contexts: expected keys and values"],
    ["contexts:\n", "contexts: expected keys and values"],
    ["contexts: { lab: {} }\n", "contexts.lab.daemon: is missing"],
    ["contexts: { lab: 127.0.0.1:1 }\n", "contexts.lab: expected keys and values"],
    ["contexts: { lab: { daemon: nowhere } }\n", "contexts.lab.daemon: expected HOST:PORT"],
    ["contexts: { lab: { daemon: 127.0.0.1:1, token: x } }\n", "contexts.lab.token: is unexpected"],
    ["contexts: { 'a b': { daemon: 127.0.0.1:1 } }\n", "contexts: expected a name of letters"],
    ["current: 7\n", "current: "]
  ] as const
  for (const [content, problem] of badFiles) {
    it(`exit 2: the file holds ${content.trim()}`, async ({ expect, onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const file = home.write(settingsFile, content)
      const { code, stderr } = await runCli(home, ["vm", "list"])
      expect(stderr).toMatch(/^Error: [^\n]+\n$/)
      expect(stderr).toContain(`Error: ${file}: ${problem}`)
      expect(code).toBe(2)
    })
  }
})
