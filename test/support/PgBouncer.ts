import { type ChildProcess, spawn } from "node:child_process"
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { freePort } from "./FreePort.js"
import { hasPostgres, ownerIds, type Server } from "./PostgresCluster.js"

const program = ["/usr/sbin", ...(process.env["PATH"] ?? "").split(":")]
  .map((folder) => join(folder, "pgbouncer"))
  .find(existsSync)

/** Whether PostgreSQL and PgBouncer can be started here. */
export const hasPgBouncer = hasPostgres && program !== undefined
/** A suffix for titles of tests that need both. */
export const needsPgBouncer = hasPgBouncer ? "" : " (skipped: needs PgBouncer and PostgreSQL)"

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1")
    socket
      .once("connect", () => {
        socket.destroy()
        resolve(true)
      })
      .once("error", () => resolve(false))
  })

/** PgBouncer in front of a server, for all its databases and roles, with default settings but for `settings`. */
export class PgBouncer {
  private child: ChildProcess | undefined

  private constructor(
    private readonly folder: string,
    readonly port: number
  ) {}

  /** Starts one. At the end it is killed and its folder is removed. */
  static async create(
    atEnd: (dispose: () => Promise<void>) => void,
    server: Server,
    settings: ReadonlyArray<string> = ["pool_mode = transaction"]
  ): Promise<PgBouncer> {
    const folder = mkdtempSync(join(tmpdir(), "nexus-pgbouncer-"))
    chmodSync(folder, 0o755)
    const bouncer = new PgBouncer(folder, await freePort())
    const onExit = () => bouncer.child?.kill("SIGKILL")
    process.on("exit", onExit)
    atEnd(async () => {
      await bouncer.kill()
      process.off("exit", onExit)
      rmSync(folder, { recursive: true, force: true })
    })
    writeFileSync(join(folder, "users"), '"postgres" ""\n')
    writeFileSync(
      join(folder, "pgbouncer.ini"),
      [
        ...["[databases]", `* = host=${server.folder} port=${server.port}`],
        ...["[pgbouncer]", "listen_addr = 127.0.0.1", `listen_port = ${bouncer.port}`, "unix_socket_dir ="],
        ...["auth_type = trust", `auth_file = ${join(folder, "users")}`, "auth_user = postgres"],
        ...settings
      ].join("\n")
    )
    await bouncer.start()
    return bouncer
  }

  async start(): Promise<void> {
    // It refuses to run as root.
    const child = spawn(program ?? "", [join(this.folder, "pgbouncer.ini")], { ...ownerIds(), stdio: "ignore" })
    this.child = child
    while (!(await accepts(this.port))) {
      if (child.exitCode !== null) throw new Error(`PgBouncer ended with ${child.exitCode}`)
    }
  }

  /** Ends it at once, and with it every connection. */
  async kill(): Promise<void> {
    const { child } = this
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once("exit", resolve))
    child.kill("SIGKILL")
    await ended
  }

  /** The URL of a database through it. */
  url(database = "postgres", user = "postgres"): string {
    return `postgres://${user}@127.0.0.1:${this.port}/${database}`
  }
}
