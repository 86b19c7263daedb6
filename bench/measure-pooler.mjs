import { spawn } from "node:child_process"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { drive } from "./drive.mjs"
import { freePort, hasPostgres, ownerIds, startPostgres } from "./postgres.mjs"
import { cpuTime } from "./proc.mjs"
import { folder } from "./processes.mjs"
import { createRequests, getRequests } from "./requests.mjs"
import { seedPostgres } from "./seed-postgres.mjs"
import { startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const connections = 32
const records = 1_000

const program = ["/usr/sbin", ...(process.env["PATH"] ?? "").split(":")]
  .map((path) => join(path, "pgbouncer"))
  .find((path) => existsSync(path))

/** Whether PostgreSQL and PgBouncer can be started here. */
export const hasPgBouncer = hasPostgres && program !== undefined

/**
 * PgBouncer in transaction mode in front of a server, with default settings.
 *
 * @param {import("./postgres.mjs").Postgres} postgres
 */
const startPgBouncer = async (postgres) => {
  const port = await freePort()
  const [users, settings] = [join(postgres.folder, "users"), join(postgres.folder, "pgbouncer.ini")]
  writeFileSync(users, '"postgres" ""\n')
  writeFileSync(
    settings,
    `[databases]
* = host=${postgres.folder} port=${postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
pool_mode = transaction
`
  )
  const child = spawn(program ?? "", [settings], { ...ownerIds(), cwd: folder, stdio: "ignore" })
  const stop = () => void child.kill("SIGKILL")
  process.once("exit", stop)
  return {
    pid: child.pid ?? 0,
    url: (/** @type {string} */ database) => `postgres://postgres@127.0.0.1:${port}/${database}`,
    stop
  }
}

/**
 * One daemon through PgBouncer against one with connections of its own, to one PostgreSQL.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measurePooler = async ({ postgres: { each, millis, rounds, warm } }, generator) => {
  const postgres = await startPostgres()
  const databases = { pooled: await seedPostgres(postgres, records), direct: await seedPostgres(postgres, records) }
  const pooler = await startPgBouncer(postgres)
  // It has no way to say that it listens.
  await sleep(500)
  const servers = {
    pooled: await startNexusd(pooler.url(databases.pooled)),
    direct: await startNexusd(postgres.url(databases.direct))
  }
  /** @param {import("./servers.mjs").Server} server @param {number} [count] */
  const create = async (server, count = each) => {
    const before = cpuTime(pooler.pid)
    const job = { connections, requests: createRequests(count).creates, status: 201 }
    const driven = await drive(generator, server, job)
    return { ...driven, pooler: ((cpuTime(pooler.pid) - before) / count) * 1000 }
  }
  /** @param {import("./servers.mjs").Server} server @param {{ millis: number } | { count: number }} [limit] */
  const get = (server, limit = { millis }) =>
    drive(generator, server, { connections, requests: getRequests(records), status: 200, ...limit })
  for (const server of Object.values(servers)) {
    await get(server, { count: warm })
    await create(server, warm)
  }
  const made = await alternate(rounds, { pooled: () => create(servers.pooled), direct: () => create(servers.direct) })
  const got = await alternate(rounds, { pooled: () => get(servers.pooled), direct: () => get(servers.direct) })
  for (const { stop } of Object.values(servers)) await stop()
  pooler.stop()
  postgres.stop()

  /**
   * @param {string} what
   * @param {Record<"pooled" | "direct", Array<import("./drive.mjs").Driven>>} driven
   * @param {string} [more]
   */
  const row = (what, { direct, pooled }, more = "") => {
    const [ours, theirs] = [pooled.map(({ rate }) => rate), direct.map(({ rate }) => rate)]
    return {
      path: `PostgreSQL through PgBouncer: ${what}, one daemon`,
      nexus: `${figure(median(ours))}/s`,
      against: `without it ${figure(median(theirs))}/s`,
      value: median(ours) / median(theirs),
      details:
        `The ratio went ${spread(ours, theirs)}. nexusd computes ${figure(median(pooled.map(({ cpu }) => cpu)))} µs for one ` +
        `through the pooler, ${figure(median(direct.map(({ cpu }) => cpu)))} µs without it.${more}`
    }
  }
  const computed = figure(median(made.pooled.map(({ pooler }) => pooler)))
  return [row("creates", made, ` PgBouncer computes ${computed} µs.`), row("gets", got)]
}
