import { execFileSync } from "node:child_process"
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import Pg from "pg"
import { cpuTime } from "./proc.mjs"

const versions = "/usr/lib/postgresql"

/** Where PostgreSQL's programs are: where Debian puts the newest of them, else on the PATH. */
const programs = [
  ...(existsSync(versions) ? readdirSync(versions) : [])
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(versions, version, "bin")),
  ...(process.env["PATH"] ?? "").split(":")
].find((folder) => ["initdb", "pg_ctl", "postgres"].every((name) => existsSync(join(folder, name))))

/** Whether a PostgreSQL can be started here. */
export const hasPostgres = programs !== undefined

const isRoot = process.getuid?.() === 0
/** initdb and the server refuse to be root's. */
const owner = isRoot ? "nobody" : undefined
/** @param {"-u" | "-g"} flag */
const idOf = (flag) => Number(execFileSync("id", [flag, owner ?? ""], { encoding: "utf8" }))

/**
 * Runs one of PostgreSQL's programs as the server's owner.
 *
 * @param {string} cwd
 * @param {string} program
 * @param {ReadonlyArray<string>} args
 */
const run = (cwd, program, args) => {
  const command = [join(programs ?? "", program), ...args]
  const [first = "", ...rest] = owner === undefined ? command : ["runuser", "-u", owner, "--", ...command]
  return execFileSync(first, rest, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
}

export const postgresVersion = () =>
  programs &&
  execFileSync(join(programs, "postgres"), ["--version"], { encoding: "utf8" })
    .replace(/^.*\) /, "")
    .trim()

/** Whose a program is that refuses to be root's, for `spawn`. */
export const ownerIds = () => (isRoot ? { uid: idOf("-u"), gid: idOf("-g") } : {})

/** @returns {Promise<number>} */
export const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" ? (address?.port ?? 0) : 0))
    })
  })

/**
 * A PostgreSQL server with the settings that initdb gives it, but for more connections. It syncs to the disk that
 * everything else is measured on.
 */
export const startPostgres = async () => {
  const folder = mkdtempSync(join(process.env["TMPDIR"] ?? "/var/tmp", "nexus-bench-pg-"))
  const data = join(folder, "data")
  chmodSync(folder, 0o755)
  mkdirSync(data, { mode: 0o700 })
  if (isRoot) for (const path of [folder, data]) chownSync(path, idOf("-u"), idOf("-g"))
  const stop = () => {
    if (!existsSync(folder)) return
    if (existsSync(join(data, "postmaster.pid"))) run(folder, "pg_ctl", ["stop", "-w", "-m", "immediate", "-D", data])
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }
  process.once("exit", stop)
  run(folder, "initdb", ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
  const port = await freePort()
  const settings = ["listen_addresses=", `port=${port}`, `unix_socket_directories=${folder}`, "max_connections=200"]
  // pg_stat_activity shows statements whole: the raw server uses them too.
  settings.push("track_activity_query_size=16kB")
  const options = settings.map((setting) => `-c ${setting}`).join(" ")
  run(folder, "pg_ctl", ["start", "-w", "-D", data, "-o", options, "-l", join(folder, "log")])

  /** @param {string} database */
  const url = (database) => `postgres://postgres@${encodeURIComponent(folder)}:${port}/${database}`
  /**
   * @param {string} database
   * @param {string} text
   * @returns {Promise<Array<Record<string, unknown>>>}
   */
  const query = async (database, text) => {
    const client = new Pg.Client({ host: folder, port, user: "postgres", database })
    await client.connect()
    try {
      return (await client.query(text)).rows
    } finally {
      await client.end()
    }
  }
  /** Milliseconds that every process of the server that lives has computed. */
  const cpu = () => {
    const main = Number(readFileSync(join(data, "postmaster.pid"), "utf8").split("\n")[0])
    const children = readFileSync(`/proc/${main}/task/${main}/children`, "utf8").trim().split(" ")
    return [main, ...children.map(Number)].reduce(
      (sum, pid) => sum + (existsSync(`/proc/${pid}`) ? cpuTime(pid) : 0),
      0
    )
  }
  let made = 0
  /** Makes an empty database and returns its name. */
  const database = async () => {
    const name = `bench_${++made}`
    await query("postgres", `CREATE DATABASE ${name}`)
    return name
  }
  return { folder, port, url, query, cpu, database, stop }
}

/** @typedef {Awaited<ReturnType<typeof startPostgres>>} Postgres */
