import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import { createRequire } from "node:module"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Vm } from "../../src/domain/Vm.js"

export const projectFolder = fileURLToPath(new URL("../..", import.meta.url))

/** The programs as they are shipped. */
export const programs = {
  nexusd: join(projectFolder, "dist/nexusd.cjs"),
  nexusctl: join(projectFolder, "dist/nexusctl.cjs")
} as const

/** A variable that is set to `undefined` is removed. */
type Environment = Readonly<Record<string, string | undefined>>

/** How a process ended, and all that it said. */
export interface Result {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A user of their own: a home folder, and the processes started in it. */
export interface Home {
  readonly path: string
  readonly env: Environment
  readonly children: Set<ChildProcess>
  /** Writes a file under the home folder, and gives back its path. */
  readonly write: (name: string, content: string | Uint8Array) => string
}

const living = new Set<ChildProcess>()
const folders = new Set<string>()
// A run that is broken off ends no test.
process.on("exit", () => {
  for (const child of living) child.kill("SIGKILL")
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/**
 * Makes a home in a temporary folder. `atEnd` is vitest's `afterAll` or a test's `onTestFinished`: the processes are
 * killed and the folder is removed then, whatever became of the test.
 */
export const makeHome = (atEnd: (dispose: () => Promise<void>) => void): Home => {
  const path = mkdtempSync(join(tmpdir(), "nexus-home-"))
  const children = new Set<ChildProcess>()
  folders.add(path)
  atEnd(async () => {
    await Promise.all(
      Array.from(children, (child) => {
        const closed = new Promise((resolve) => child.once("close", resolve))
        child.kill("SIGKILL")
        return closed
      })
    )
    rmSync(path, { recursive: true, force: true })
    folders.delete(path)
  })
  return {
    path,
    children,
    env: {
      PATH: process.env["PATH"],
      LANG: "C.UTF-8",
      TZ: "UTC",
      HOME: path,
      XDG_CONFIG_HOME: join(path, "config"),
      XDG_STATE_HOME: join(path, "state")
    },
    write: (name, content) => {
      const file = join(path, name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, content)
      return file
    }
  }
}

/** A process that was started. */
export interface Running {
  readonly child: ChildProcess
  /** What it has said so far. */
  readonly said: { readonly stdout: string; readonly stderr: string }
  readonly ended: Promise<Result>
}

export interface Options {
  readonly env?: Environment
  /** What it reads from stdin; `open` leaves stdin to the test. */
  readonly stdin?: "open" | { readonly text: string }
}

/** Starts any program in a home. */
export const start = (home: Home, command: string, args: ReadonlyArray<string>, options: Options = {}): Running => {
  const environment = Object.entries({ ...home.env, ...options.env }).filter(([, value]) => value !== undefined)
  const child = spawn(command, args, { cwd: home.path, env: Object.fromEntries(environment), stdio: "pipe" })
  home.children.add(child)
  living.add(child)
  const said = { stdout: "", stderr: "" }
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      said[name] += text
    })
  }
  // A program may end before it has read its input.
  child.stdin.on("error", () => {})
  if (options.stdin !== "open") child.stdin.end(options.stdin?.text ?? "")
  const ended = new Promise<Result>((resolve, reject) => {
    child.once("error", reject)
    child.once("close", (code) => {
      home.children.delete(child)
      living.delete(child)
      resolve({ code, ...said })
    })
  })
  return { child, said, ended }
}

/** Starts nexusctl. */
export const startCli = (home: Home, args: ReadonlyArray<string>, options?: Options): Running =>
  start(home, process.execPath, [programs.nexusctl, ...args], options)

/** Runs nexusctl to its end. */
export const runCli = (home: Home, args: ReadonlyArray<string>, options?: Options): Promise<Result> =>
  startCli(home, args, options).ended

export interface DaemonOptions {
  readonly args?: ReadonlyArray<string>
  readonly env?: Environment
  /** The text of its nexus.yaml. */
  readonly config?: string
}

const launch = (home: Home, { args = [], config, env }: DaemonOptions): Running => {
  if (config !== undefined) home.write("config/nexus/nexus.yaml", config)
  return start(home, process.execPath, [programs.nexusd, ...args], { env: { NEXUS_API_LISTEN: "127.0.0.1:0", ...env } })
}

/** A daemon that listens. */
export interface Daemon extends Running {
  /** `127.0.0.1:43210`. */
  readonly address: string
  readonly port: number
  /** `http://127.0.0.1:43210`. */
  readonly url: string
  /** The lines of its log so far. */
  readonly log: () => ReadonlyArray<string>
  /** Sends a signal and waits for the end. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<Result>
}

const listening = (stderr: string): string | undefined => /listening on http:\/\/([^\s",]+)/.exec(stderr)?.[1]

/** Starts nexusd on a free port, unless told otherwise, and waits until it says that it listens. */
export const startDaemon = async (home: Home, options: DaemonOptions = {}): Promise<Daemon> => {
  const running = launch(home, options)
  const address = await new Promise<string>((resolve, reject) => {
    const look = () => {
      const found = listening(running.said.stderr)
      if (found !== undefined) resolve(found)
    }
    running.child.stderr?.on("data", look)
    running.ended.then(({ code, stderr }) => reject(new Error(`nexusd ended with ${code}: ${stderr}`)), reject)
  })
  return {
    ...running,
    address,
    port: Number(address.slice(address.lastIndexOf(":") + 1)),
    url: `http://${address}`,
    log: () => running.said.stderr.split("\n").filter((line) => line !== ""),
    stop: (signal = "SIGTERM") => {
      running.child.kill(signal)
      return running.ended
    }
  }
}

/** Runs nexusd to its end; one that listens instead is an error. */
export const runDaemon = async (home: Home, options: DaemonOptions = {}): Promise<Result> => {
  const running = launch(home, options)
  running.child.stderr?.on("data", () => {
    if (listening(running.said.stderr) !== undefined) running.child.kill("SIGKILL")
  })
  const result = await running.ended
  if (listening(result.stderr) !== undefined) throw new Error(`nexusd started: ${result.stderr}`)
  return result
}

/** Makes one HTTP request, on a connection of its own. */
export const call = (
  { url }: { readonly url: string },
  method: string,
  path: string,
  content?: unknown
): Promise<{ readonly status: number; readonly body: unknown }> =>
  new Promise((resolve, reject) => {
    const headers = content === undefined ? {} : { "content-type": "application/json" }
    const request = Http.request(`${url}${path}`, { method, headers, agent: false }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part
      })
      response.once("error", reject)
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, body: text === "" ? undefined : JSON.parse(text) })
      )
    })
    request.once("error", reject)
    request.end(content === undefined ? undefined : JSON.stringify(content))
  })

/** Creates a record, which must succeed. */
export const createVm = async (daemon: { readonly url: string }, name: string, more: object = {}): Promise<Vm> => {
  const { body, status } = await call(daemon, "POST", "/v1/vms", { name, ...more })
  if (status !== 201) throw new Error(`creating ${name} was answered with ${status}: ${JSON.stringify(body)}`)
  return body as Vm
}

/** All records. */
export const listVms = async (daemon: { readonly url: string }): Promise<ReadonlyArray<Vm>> =>
  (await call(daemon, "GET", "/v1/vms")).body as ReadonlyArray<Vm>

/** An answer as it came over the wire. */
export interface Answer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
}

/** A TCP connection to a daemon, for requests that an HTTP client would not send. */
export interface Connection {
  readonly send: (text: string) => void
  /** Waits for the next answer; fails when the connection ends without one. */
  readonly answer: () => Promise<Answer>
  readonly closed: Promise<void>
}

const parse = (text: string): { readonly answer: Answer; readonly rest: string } | undefined => {
  const end = text.indexOf("\r\n\r\n")
  if (end < 0) return undefined
  const [first = "", ...lines] = text.slice(0, end).split("\r\n")
  const headers = new Map(
    lines.map((line): [string, string] => [
      line.slice(0, line.indexOf(":")).toLowerCase(),
      line.slice(line.indexOf(":") + 1).trim()
    ])
  )
  const length = Number(headers.get("content-length") ?? 0)
  const body = text.slice(end + 4, end + 4 + length)
  if (body.length < length) return undefined
  return { answer: { status: Number(first.split(" ")[1]), headers, body }, rest: text.slice(end + 4 + length) }
}

/** Opens a connection; `atEnd` closes it. Bytes are taken one a character, which suits ASCII. */
export const connect = async (port: number, atEnd: (dispose: () => void) => void): Promise<Connection> => {
  const socket = Net.connect(port, "127.0.0.1").setEncoding("latin1")
  atEnd(() => void socket.destroy())
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject))
  let received = ""
  let isOpen = true
  socket.on("data", (text: string) => {
    received += text
  })
  const closed = new Promise<void>((resolve) => {
    socket
      .on("error", () => {})
      .once("close", () => {
        isOpen = false
        resolve()
      })
  })
  const news = () =>
    new Promise<void>((resolve) => {
      const heard = () => {
        socket.off("data", heard).off("close", heard)
        resolve()
      }
      socket.on("data", heard).on("close", heard)
    })
  return {
    closed,
    send: (text) => void socket.write(text, "latin1"),
    answer: async () => {
      for (;;) {
        const found = parse(received)
        if (found !== undefined) {
          received = found.rest
          return found.answer
        }
        if (!isOpen) throw new Error(`the connection ended after ${JSON.stringify(received)}`)
        await news()
      }
    }
  }
}

/** A port that nothing listened on a moment ago. */
export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer().once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" ? (address?.port ?? 0) : 0))
    })
  })

type Row = Readonly<Record<string, unknown>>

/** The part of better-sqlite3 that tests use. */
export interface Sqlite {
  readonly exec: (sql: string) => void
  readonly prepare: (sql: string) => {
    readonly all: (...values: ReadonlyArray<unknown>) => ReadonlyArray<Row>
    readonly run: (...values: ReadonlyArray<unknown>) => void
  }
  readonly close: () => void
}

const openSqlite: new (path: string) => Sqlite = createRequire(import.meta.url)(
  "../../src/services/sqlite/BetterSqlite3.cjs"
).loadSqlite()

/** Opens a SQLite file, without nexusd's help, for as long as `use` takes. */
export const withDatabase = <A>(path: string, use: (database: Sqlite) => A): A => {
  mkdirSync(dirname(path), { recursive: true })
  const database = new openSqlite(path)
  try {
    return use(database)
  } finally {
    database.close()
  }
}
