import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs"
import * as Net from "node:net"
import { dirname, join } from "node:path"
import { describe, expect, it } from "vitest"
import { runCli } from "../support/Cli.js"
import { runDaemon, startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { type Home, makeHome } from "../support/Home.js"
import { sendRequest } from "../support/HttpJson.js"
import { type Result, type Running, start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { createVm, listVms } from "../support/VmCalls.js"

const modeOf = (path: string) => `0${(statSync(path).mode & 0o777).toString(8)}`

/** Asserts one line on stderr with all of `says`, and exit code 1. */
const expectRefusal = ({ code, stderr, stdout }: Result, ...says: ReadonlyArray<string>) => {
  expect(stderr).toMatch(/^Error: [^\n]+\n$/)
  for (const part of says) expect(stderr).toContain(part)
  expect(stdout).toBe("")
  expect(code).toBe(1)
}

/** Starts nexusd from a shell with a umask. */
const startWithUmask = async (home: Home, umask: string, env: Readonly<Record<string, string>>): Promise<Running> => {
  const script = `umask ${umask}; exec "$0" "$@"`
  const running = start(home, "sh", ["-c", script, process.execPath, programs.nexusd], { env })
  await new Promise<void>((resolve, reject) => {
    running.child.stderr?.on("data", () => running.said.stderr.includes("listening on") && resolve())
    running.ended.then(({ stderr }) => reject(new Error(`nexusd ended: ${stderr}`)), reject)
  })
  return running
}

const stop = ({ child, ended }: Running, signal: NodeJS.Signals = "SIGTERM") => {
  child.kill(signal)
  return ended
}

/** A home with the address of a socket in it. */
const makeSocketHome = (atEnd: (dispose: () => Promise<void>) => void) => {
  const home = makeHome(atEnd)
  const path = join(home.path, "run/nexus/api.sock")
  const address = `unix:${path}`
  return { home, path, address, env: { NEXUS_API_LISTEN: address } }
}

/** A home with a token made by `nexusd token new`. */
const makeTokenHome = async (atEnd: (dispose: () => Promise<void>) => void) => {
  const home = makeHome(atEnd)
  const file = join(home.path, "secrets/token")
  const made = await runDaemon(home, { args: ["token", "new", file] })
  expect(made).toMatchObject({ code: 0, stderr: "" })
  const token = readFileSync(file, "utf8").trim()
  expect(made.stdout).toContain(file)
  expect(made.stdout).not.toContain(token)
  return { home, file, token, env: { NEXUS_API_TOKEN_FILE: file } }
}

describe.concurrent("a Unix socket", { timeout: 60_000 }, () => {
  for (const umask of ["000", "077"]) {
    it(`is accessible to its owner alone under umask ${umask}, and is removed at a stop`, async ({
      expect,
      onTestFinished
    }) => {
      const { env, home, path } = makeSocketHome(onTestFinished)
      const daemon = await startWithUmask(home, umask, env)
      expect(statSync(path).isSocket()).toBe(true)
      expect(modeOf(path)).toBe("0600")
      expect(modeOf(dirname(path))).toBe("0700")
      expect(await stop(daemon)).toMatchObject({ code: 0 })
      expect(existsSync(path)).toBe(false)
    })
  }

  it("serves every command of nexusctl", async ({ expect, onTestFinished }) => {
    const { address, env, home } = makeSocketHome(onTestFinished)
    await startWithUmask(home, "022", env)
    const run = async (...args: ReadonlyArray<string>) => {
      const { code, stderr, stdout } = await runCli(home, ["--daemon", address, ...args])
      return { code, stderr, lines: stdout.split("\n") }
    }
    const ok = { code: 0, stderr: "" }
    const named = (first: string) => expect.arrayContaining([expect.stringContaining(first)])
    expect(await run("status")).toMatchObject({ ...ok, lines: named(`Daemon: ok (${address})`) })
    expect(await run("version")).toMatchObject({ ...ok, lines: named(`nexusd   reachable at ${address}`) })
    expect(await run("vm", "create", "web")).toMatchObject({ ...ok, lines: named('Created VM "web"') })
    expect(await run("vm", "list")).toMatchObject({ ...ok, lines: named("web") })
    expect(await run("vm", "inspect", "web")).toMatchObject({ ...ok, lines: named("Name:       web") })
    expect(await run("vm", "inspect", "a/b?c")).toMatchObject({ code: 4 })
    expect(await run("vm", "create", "web")).toMatchObject({ code: 5 })
    expect(await run("vm", "delete", "web", "--yes")).toMatchObject({ ...ok, lines: named('Deleted VM "web"') })
    const byEnvironment = await runCli(home, ["vm", "list"], { env: { NEXUS_DAEMON: address } })
    expect(byEnvironment.stdout).toBe("No VMs found.\n")
    home.write("config/nexusctl/config.yaml", `daemon: "${address}"\n`)
    expect((await runCli(home, ["vm", "list"])).stdout).toBe("No VMs found.\n")
  })

  it("is replaced when its daemon is dead", async ({ expect, onTestFinished }) => {
    const { address, env, home, path } = makeSocketHome(onTestFinished)
    await stop(await startWithUmask(home, "022", env), "SIGKILL")
    expect(statSync(path).isSocket()).toBe(true)
    const stale = await runCli(home, ["--daemon", address, "vm", "list"])
    expect(stale.code).toBe(3)
    expect(stale.stderr).toContain(`cannot connect to Nexus daemon at ${address}`)
    await startWithUmask(home, "000", env)
    expect(modeOf(path)).toBe("0600")
    expect((await runCli(home, ["--daemon", address, "vm", "list"])).stdout).toBe("No VMs found.\n")
  })

  it("is kept when its daemon answers", async ({ expect, onTestFinished }) => {
    const { address, env, home } = makeSocketHome(onTestFinished)
    await startWithUmask(home, "022", env)
    expectRefusal(await runDaemon(home, { env: { ...env, NEXUS_DATABASE_URL: join(home.path, "other.db") } }), address)
    expect((await runCli(home, ["--daemon", address, "vm", "list"])).stdout).toBe("No VMs found.\n")
  })

  const tooLong = [
    ["ASCII", "a".repeat(200)],
    ["UTF-8 of fewer characters than bytes", "ü".repeat(60)],
    ["folders", `${"f/".repeat(60)}api.sock`]
  ] as const
  for (const [what, name] of tooLong) {
    it(`fails with one line when its path is too long, of ${what}, and leaves nothing behind`, async ({
      expect,
      onTestFinished
    }) => {
      const home = makeHome(onTestFinished)
      const path = join(home.path, name)
      const refused = await runDaemon(home, { env: { NEXUS_API_LISTEN: `unix:${path}` } })
      expectRefusal(refused, "api.listen", `${Buffer.byteLength(path)} bytes`, "107")
      expect(readdirSync(home.path)).toEqual([])
    })
  }

  it("may have the longest possible path", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const path = join(home.path, "a".repeat(107 - Buffer.byteLength(home.path) - 1))
    await startWithUmask(home, "022", { NEXUS_API_LISTEN: `unix:${path}` })
    expect(readdirSync(home.path)).toContain("a".repeat(107 - Buffer.byteLength(home.path) - 1))
    expect((await runCli(home, ["--daemon", `unix:${path}`, "vm", "list"])).stdout).toBe("No VMs found.\n")
  })

  it("fails with one line where none can be made, before a database is made", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const file = home.write("file", "precious")
    mkdirSync(join(home.path, "folder"))
    const before = readdirSync(home.path)
    for (const [path, reason] of [
      [join(home.path, "folder"), "not a socket"],
      [file, "not a socket"],
      [join(file, "api.sock"), "not a folder"],
      ["/dev/null", "not a socket"],
      ["/dev/null/api.sock", "not a folder"]
    ] as const) {
      const refused = await runDaemon(home, { env: { NEXUS_API_LISTEN: `unix:${path}` } })
      expectRefusal(refused, `unix:${path}`, "api.listen", reason)
    }
    expect(readdirSync(home.path)).toEqual(before)
    expect(readFileSync(file, "utf8")).toBe("precious")
  })

  it("fails with one line in a folder that can't be made", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    // Nobody may make a folder in /proc, not even root.
    const listen = "unix:/proc/nexus/api.sock"
    expectRefusal(await runDaemon(home, { env: { NEXUS_API_LISTEN: listen } }), listen, "api.listen")
  })

  it("is kept when another program that does not answer owns it", async ({ expect, onTestFinished }) => {
    const { env, home, path } = makeSocketHome(onTestFinished)
    mkdirSync(dirname(path), { recursive: true })
    const other = Net.createServer(() => {})
    onTestFinished(() => void other.close())
    await new Promise<void>((resolve) => other.listen(path, resolve))
    expectRefusal(await runDaemon(home, { env }), path, "another daemon")
    expect(statSync(path).isSocket()).toBe(true)
  })

  it("replaces no other file", async ({ expect, onTestFinished }) => {
    const { env, home, path } = makeSocketHome(onTestFinished)
    home.write("run/nexus/api.sock", "precious")
    expectRefusal(await runDaemon(home, { env }), path)
    expect(readFileSync(path, "utf8")).toBe("precious")
  })
})

describe.concurrent("a token", { timeout: 60_000 }, () => {
  it("is readable by its owner alone, and replaces no file", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const file = join(home.path, "config/nexus/token")
    const make = () =>
      start(home, "sh", ["-c", 'umask 000; exec "$0" "$@"', process.execPath, programs.nexusd, "token", "new"]).ended
    expect(await make()).toMatchObject({ code: 0, stderr: "" })
    expect(modeOf(file)).toBe("0600")
    expect(modeOf(dirname(file))).toBe("0700")
    const token = readFileSync(file, "utf8")
    expect(token.trim()).toMatch(/^[\w-]{43}$/)
    const again = await make()
    expectRefusal(again, file)
    expect(again.stderr).not.toContain(token.trim())
    expect(readFileSync(file, "utf8")).toBe(token)
    expect(await runDaemon(home, { args: ["token", "new", join(home.path, "two")] })).toMatchObject({ code: 0 })
    expect(readFileSync(join(home.path, "two"), "utf8")).not.toBe(token)
  })

  it("is required on every route, and appears in no output", async ({ expect, onTestFinished }) => {
    const { env, home, token } = await makeTokenHome(onTestFinished)
    const daemon = await startDaemon(home, { env: { ...env, NEXUS_LOG_LEVEL: "debug" } })
    const right = { authorization: `Bearer ${token}` }
    const json = { "content-type": "application/json" }
    const web = '{"name":"web"}'
    expect((await sendRequest(daemon, "POST", "/v1/vms", { headers: { ...right, ...json }, text: web })).status).toBe(
      201
    )
    const routes = [
      ["GET", "/v1/vms", 200],
      ["POST", "/v1/vms", 409, web],
      ["GET", "/v1/vms/web", 200],
      ["GET", "/v1/health", 200],
      ["GET", "/openapi.json", 200],
      ["GET", "/docs", 200],
      ["HEAD", "/v1/vms", 200],
      ["PUT", "/v1/vms", 405],
      ["GET", "/unknown", 404],
      ["DELETE", "/v1/vms/web", 204]
    ] as const
    const wrong = [
      undefined,
      "",
      "Bearer",
      "Bearer ",
      `Bearer ${token.slice(0, -1)}`,
      `Bearer ${token}x`,
      `Bearer ${token} x`,
      `Bearer ${token.toLowerCase()}`,
      `Bearer ${"x".repeat(token.length)}`,
      `Basic ${Buffer.from(`nexus:${token}`).toString("base64")}`,
      `Basic ${token}`,
      `Token ${token}`,
      `Bearer${token}`,
      token
    ]
    const answers: Array<string> = []
    for (const [method, path, , body] of routes) {
      for (const authorization of wrong) {
        const headers = { ...(body && json), ...(authorization !== undefined && { authorization }) }
        const answer = await sendRequest(daemon, method, path, { headers, text: body })
        expect(answer.status, `${method} ${path} with ${authorization}`).toBe(401)
        expect(answer.headers["www-authenticate"]).toMatch(/^Bearer\b/)
        if (method !== "HEAD") expect(JSON.parse(answer.text).error).toMatch(/token/)
        answers.push(answer.text)
      }
    }
    // The start page alone needs none, and nothing but its reading.
    for (const [method, path, status] of [
      ["GET", "/", 200],
      ["HEAD", "/", 200],
      ["GET", "/?x=1", 400],
      ["POST", "/", 401],
      ["DELETE", "/", 401],
      ["GET", "//", 401],
      ["GET", "/docs?/", 401],
      ["GET", "/%2F", 401]
    ] as const) {
      expect((await sendRequest(daemon, method, path)).status, `${method} ${path}`).toBe(status)
    }
    // In the path, where a log might show it, it is no token.
    const inQuery = await sendRequest(daemon, "GET", "/v1/vms?access_token=x")
    expect(inQuery.status).toBe(401)
    for (const [method, path, status, body] of routes) {
      const answer = await sendRequest(daemon, method, path, { headers: { ...right, ...(body && json) }, text: body })
      expect(answer.status, `${method} ${path} with the token`).toBe(status)
      answers.push(path === "/docs" ? "" : answer.text)
    }
    // RFC 9110, 11.1: the scheme is case-insensitive.
    const lower = await sendRequest(daemon, "GET", "/v1/vms", { headers: { authorization: `bearer ${token}` } })
    expect(lower.status).toBe(200)
    const { stderr, stdout } = await daemon.stop()
    expect([...answers, stderr, stdout].filter((text) => text.includes(token))).toEqual([])
  })

  it("reaches nexusctl by option, environment and settings, in that order", async ({ expect, onTestFinished }) => {
    const { env, file, home, token } = await makeTokenHome(onTestFinished)
    const { address } = await startDaemon(home, { env })
    const wrongFile = home.write("wrong", "x".repeat(43))
    chmodSync(wrongFile, 0o600)
    const settings = (path: string) => home.write("config/nexusctl/config.yaml", `token_file: "${path}"\n`)
    const list = async (args: ReadonlyArray<string>, given?: string) =>
      runCli(home, ["--daemon", address, ...args, "vm", "list"], { env: { NEXUS_TOKEN: given } })
    const ok = { code: 0, stdout: "No VMs found.\n", stderr: "" }

    const none = await list([])
    expect(none).toMatchObject({ code: 1, stdout: "" })
    expect(none.stderr).toMatch(/^Error: .*token.*NEXUS_TOKEN.*--token-file/s)
    expect(await list(["--token-file", file])).toMatchObject(ok)
    expect(await list([], token)).toMatchObject(ok)
    expect(await list(["--token-file", file], "x".repeat(43))).toMatchObject(ok)
    expect(await list(["--token-file", wrongFile], token)).toMatchObject({ code: 1 })
    settings(file)
    expect(await list([])).toMatchObject(ok)
    expect(await list([], "x".repeat(43))).toMatchObject({ code: 1 })
    settings(wrongFile)
    expect(await list([])).toMatchObject({ code: 1 })
    expect(await list([], token)).toMatchObject(ok)
    expect(await list(["--token-file", file])).toMatchObject(ok)

    const missing = await list(["--token-file", join(home.path, "missing")])
    expect(missing.code).not.toBe(0)
    expect(missing.stderr).toMatch(/^Error: [^\n]*missing[^\n]*\n/)
    for (const { stderr } of [none, missing]) expect(stderr).not.toContain(token)
    const version = await runCli(home, ["--daemon", address, "--token-file", file, "version"])
    expect(version.stdout).toContain(`nexusd   reachable at ${address}`)
  })

  it("is refused in an untrusted file", async ({ expect, onTestFinished }) => {
    const { env, file, home, token } = await makeTokenHome(onTestFinished)
    for (const mode of [0o640, 0o604, 0o620]) {
      chmodSync(file, mode)
      const refused = await runDaemon(home, { env })
      expectRefusal(refused, file, "chmod 600")
      expect(refused.stderr).not.toContain(token)
    }
    const cli = await runCli(home, ["--token-file", file, "vm", "list"])
    expect(cli.code).not.toBe(0)
    expect(cli.stderr).toContain("chmod 600")
    expect(cli.stderr).not.toContain(token)
    for (const content of ["", "short", "two words are no token"]) {
      const bad = home.write("bad", content)
      chmodSync(bad, 0o600)
      expectRefusal(await runDaemon(home, { env: { NEXUS_API_TOKEN_FILE: bad } }), bad)
    }
    expectRefusal(await runDaemon(home, { env: { NEXUS_API_TOKEN_FILE: join(home.path, "missing") } }), "missing")
  })

  for (const host of ["0.0.0.0", "[::]"]) {
    it(`is required to listen on ${host}`, async ({ expect, onTestFinished }) => {
      const { env, home, token } = await makeTokenHome(onTestFinished)
      const listen = `${host}:${await freePort()}`
      const config = `api: { listen: "${listen}" }`
      const refused = await runDaemon(home, { config, env: { NEXUS_API_LISTEN: undefined } })
      expectRefusal(refused, listen, "nexusd token new", "token_file: ")
      const daemon = await startDaemon(home, { config, env: { ...env, NEXUS_API_LISTEN: undefined } })
      const local = { url: `http://127.0.0.1:${daemon.port}` }
      expect((await sendRequest(local, "GET", "/v1/vms")).status).toBe(401)
      expect(
        (await sendRequest(local, "GET", "/v1/vms", { headers: { authorization: `Bearer ${token}` } })).status
      ).toBe(200)
    })
  }
})

describe.concurrent("an address", { timeout: 60_000 }, () => {
  it("fails with one line when it is not this machine's", async ({ onTestFinished }) => {
    const { env, home } = await makeTokenHome(onTestFinished)
    for (const listen of [
      "192.0.2.1:9600",
      "[fe80::1%nothing0]:9600",
      "[2001:db8::1]:9600",
      "no-such-host.invalid:9600"
    ]) {
      expectRefusal(await runDaemon(home, { env: { ...env, NEXUS_API_LISTEN: listen } }), listen, "api.listen")
    }
  })

  it("fails with one line when another program uses it", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const { address } = await startDaemon(home)
    const other = { NEXUS_API_LISTEN: address, NEXUS_DATABASE_URL: join(home.path, "other.db") }
    expectRefusal(await runDaemon(home, { env: other }), address, "api.listen")
  })
})

describe.concurrent("files", { timeout: 60_000 }, () => {
  it("are accessible to their owner alone, under any umask", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const port = await freePort()
    const daemon = await startWithUmask(home, "000", { NEXUS_API_LISTEN: `127.0.0.1:${port}` })
    await createVm({ url: `http://127.0.0.1:${port}` }, "web")
    const state = join(home.path, "state/nexus")
    const copy = join(home.path, "copy.bak")
    const umask = ["-c", 'umask 000; exec "$0" "$@"', process.execPath, programs.nexusd]
    expect(await start(home, "sh", [...umask, "backup", copy]).ended).toMatchObject({ code: 0 })
    expect(modeOf(copy)).toBe("0600")
    expect(modeOf(state)).toBe("0700")
    const modes = () => Object.fromEntries(readdirSync(state).map((name) => [name, modeOf(join(state, name))]))
    expect(modes()).toEqual({ "nexus.db": "0600", "nexus.db-wal": "0600", "nexus.db-shm": "0600" })
    await stop(daemon)

    expect(await start(home, "sh", [...umask, "restore", copy]).ended).toMatchObject({ code: 0 })
    const after = modes()
    expect(Object.keys(after).length).toBeGreaterThan(1)
    expect(new Set(Object.values(after))).toEqual(new Set(["0600"]))
    const again = await startWithUmask(home, "000", { NEXUS_API_LISTEN: `127.0.0.1:${port}` })
    expect((await listVms({ url: `http://127.0.0.1:${port}` })).map(({ name }) => name)).toEqual(["web"])
    await stop(again)
    expect(new Set(Object.values(modes()))).toEqual(new Set(["0600"]))
  })

  it("are in a folder that is made private if it was open", async ({ expect, onTestFinished }) => {
    const home = makeHome(onTestFinished)
    mkdirSync(join(home.path, "state/nexus"), { recursive: true })
    chmodSync(join(home.path, "state/nexus"), 0o755)
    const daemon = await startDaemon(home)
    await createVm(daemon, "web")
    for (const name of ["nexus.db", "nexus.db-wal", "nexus.db-shm"]) {
      expect(modeOf(join(home.path, "state/nexus", name)), name).toBe("0600")
    }
  })
})
