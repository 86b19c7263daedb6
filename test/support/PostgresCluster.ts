import { execFile, execFileSync } from "node:child_process"
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Pg from "pg"
import { freePort } from "./FreePort.js"

const run = promisify(execFile)

const versions = "/usr/lib/postgresql"
/** Where PostgreSQL's programs are: where Debian puts the newest of them, else on the PATH. */
const binaries = (): string | undefined => {
  const installed = existsSync(versions) ? readdirSync(versions).sort((a, b) => Number(b) - Number(a)) : []
  const folders = [
    ...installed.map((version) => join(versions, version, "bin")),
    ...(process.env["PATH"] ?? "").split(":").filter((folder) => folder !== "")
  ]
  return folders.find((folder) => ["initdb", "pg_ctl", "postgres"].every((name) => existsSync(join(folder, name))))
}

const programs = binaries()

/** Whether a PostgreSQL can be started here. */
export const hasPostgres = programs !== undefined
/** A suffix for titles of tests that need PostgreSQL. */
export const needsPostgres = hasPostgres ? "" : " (skipped: needs PostgreSQL's initdb and pg_ctl)"

const isRoot = process.getuid?.() === 0
/** initdb and the server refuse to run as root. */
const owner = isRoot ? "nobody" : undefined
const idOf = (flag: "-u" | "-g") => Number(execFileSync("id", [flag, owner ?? ""], { encoding: "utf8" }))

/** The cluster's owner, where this process is root. */
export const ownerIds = () => (isRoot ? { uid: idOf("-u"), gid: idOf("-g") } : {})

/** Runs one of PostgreSQL's programs as the cluster's owner. */
const asOwner = async (folder: string, program: string, args: ReadonlyArray<string>): Promise<string> => {
  const command = join(programs ?? "", program)
  const options = { cwd: folder, encoding: "utf8", env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" } } as const
  const { stdout } = await (owner === undefined
    ? run(command, [...args], options)
    : run("runuser", ["-u", owner, "--", command, ...args], options))
  return stdout
}

type AtEnd = (dispose: () => Promise<void>) => void

const living = new Set<Server>()
process.on("exit", () => {
  for (const server of living) server.kill()
})

/** A PostgreSQL server, on a Unix socket and on a TCP port of 127.0.0.1. */
export class Server {
  private constructor(
    readonly folder: string,
    readonly port: number
  ) {}

  private get data() {
    return join(this.folder, "data")
  }

  /** Makes a server. At the end it is killed and its folder is removed. */
  private static async make(atEnd: AtEnd, fill: (server: Server) => Promise<void>): Promise<Server> {
    const folder = mkdtempSync(join(tmpdir(), "nexus-pg-"))
    chmodSync(folder, 0o755)
    mkdirSync(join(folder, "data"), { mode: 0o700 })
    if (isRoot) for (const path of [folder, join(folder, "data")]) chownSync(path, idOf("-u"), idOf("-g"))
    const server = new Server(folder, await freePort())
    living.add(server)
    atEnd(async () => {
      server.kill()
      living.delete(server)
      // Its processes may still write for a moment.
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
    })
    await fill(server)
    await server.start()
    return server
  }

  /** A new server. It syncs to disk; only initdb does not. */
  static create(atEnd: AtEnd): Promise<Server> {
    return Server.make(atEnd, async (server) => {
      await asOwner(server.folder, "initdb", [
        ...["-D", server.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
      ])
    })
  }

  /** A hot standby of this server. */
  standby(atEnd: AtEnd): Promise<Server> {
    return Server.make(atEnd, async (server) => {
      await asOwner(server.folder, "pg_basebackup", [
        ...["-h", this.folder, "-p", String(this.port), "-U", "postgres", "-D", server.data, "-R", "--no-sync"],
        ...["--checkpoint=fast", "--wal-method=stream"]
      ])
    })
  }

  async start(): Promise<void> {
    const settings = ["listen_addresses=127.0.0.1", `port=${this.port}`, `unix_socket_directories=${this.folder}`]
    // Connections for several daemons, and little shared memory.
    settings.push("max_connections=200", "shared_buffers=16MB")
    const options = settings.map((setting) => `-c ${setting}`).join(" ")
    await asOwner(this.folder, "pg_ctl", [
      ...["start", "-w", "-t", "30", "-D", this.data, "-o", options, "-l", join(this.folder, "log")]
    ])
  }

  async stop(mode: "fast" | "immediate" = "fast"): Promise<void> {
    await asOwner(this.folder, "pg_ctl", ["stop", "-w", "-t", "30", "-m", mode, "-D", this.data])
  }

  /** Makes a standby the server to write to. */
  async promote(): Promise<void> {
    await asOwner(this.folder, "pg_ctl", ["promote", "-w", "-t", "30", "-D", this.data])
  }

  /** The server's processes, its own first. */
  private processes(): ReadonlyArray<number> {
    const file = join(this.data, "postmaster.pid")
    if (!existsSync(file)) return []
    const main = Number(readFileSync(file, "utf8").split("\n")[0])
    const children = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .filter((name) => {
        try {
          return (
            readFileSync(`/proc/${name}/stat`, "utf8")
              .replace(/^.*\) /s, "")
              .split(" ")[1] === String(main)
          )
        } catch {
          return false
        }
      })
    return [main, ...children.map(Number)]
  }

  private signal(name: NodeJS.Signals) {
    for (const id of this.processes()) {
      try {
        process.kill(id, name)
      } catch {
        // It has ended by itself.
      }
    }
  }

  /** Resumes the server, or starts it if it does not run. */
  async revive(): Promise<void> {
    this.resume()
    if (this.processes().length === 0) await this.start()
  }

  /** Suspends every process of the server; its sockets stay open. */
  pause() {
    this.signal("SIGSTOP")
  }

  resume() {
    this.signal("SIGCONT")
  }

  kill() {
    this.signal("SIGKILL")
  }

  /** The URL of a database, by Unix socket. */
  url(database = "postgres", user = "postgres"): string {
    return `postgres://${user}@${encodeURIComponent(this.folder)}:${this.port}/${database}`
  }

  /** The same by TCP. */
  tcpUrl(database = "postgres", user = "postgres"): string {
    return `postgres://${user}@127.0.0.1:${this.port}/${database}`
  }

  /** Installs a certificate for localhost, used once TLS is on. Returns its CA and another one. */
  certify(): { readonly ca: string; readonly other: string } {
    const own = { key: join(this.data, "server.key"), cert: join(this.data, "server.crt") }
    const other = { key: join(this.folder, "other.key"), cert: join(this.folder, "other.crt") }
    for (const { cert, key } of [own, other]) {
      execFileSync(
        "openssl",
        [
          ...["req", "-new", "-x509", "-days", "2", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost"],
          ...["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
        ],
        { stdio: "ignore" }
      )
      chmodSync(key, 0o600)
      if (isRoot) for (const path of [key, cert]) chownSync(path, idOf("-u"), idOf("-g"))
    }
    return { ca: own.cert, other: other.cert }
  }

  /** The server's log. */
  log(): string {
    return readFileSync(join(this.folder, "log"), "utf8")
  }

  /** Opens a connection without nexusd. */
  async connect(database = "postgres", user = "postgres"): Promise<Pg.Client> {
    const client = new Pg.Client({ host: this.folder, port: this.port, user, database })
    client.on("error", () => {})
    await client.connect()
    return client
  }

  /** Runs SQL on a connection of its own. */
  async query(
    text: string,
    { database = "postgres", user = "postgres", values = [] as ReadonlyArray<unknown> } = {}
  ): Promise<ReadonlyArray<Readonly<Record<string, unknown>>>> {
    const client = await this.connect(database, user)
    try {
      const { rows } = await client.query<Record<string, unknown>, Array<unknown>>(text, [...values])
      return rows ?? []
    } finally {
      await client.end()
    }
  }

  private serial = 0

  /** Makes an empty database and returns its name. */
  async database(): Promise<string> {
    const name = `test_${process.pid}_${++this.serial}`
    await this.query(`CREATE DATABASE ${name} TEMPLATE template0`)
    return name
  }
}

/** Runs psql, which stops at the first error, and returns its output. */
export const psql = (server: Server, database: string, args: ReadonlyArray<string>): Promise<string> =>
  asOwner(server.folder, "psql", [
    ...["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", server.folder, "-p", String(server.port)],
    ...["-U", "postgres", "-d", database, ...args]
  ])

/** The whole database as SQL, by pg_dump. */
export const dump = async (server: Server, database: string): Promise<string> => {
  const text = await asOwner(server.folder, "pg_dump", [
    ...["-h", server.folder, "-p", String(server.port), "-U", "postgres", database]
  ])
  // Newer versions write a random word here.
  return text.replace(/^\\(un)?restrict .*$/gm, "")
}
