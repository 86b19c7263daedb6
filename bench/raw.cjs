// The baseline on SQLite: node:http and better-sqlite3 alone. It does the same work on the same schema with the same
// durability, but validates nothing. With --batch all creates of one event-loop turn share a transaction, as in nexusd.
// CommonJS starts faster than an ES module.
//
// node raw.cjs DATABASE [--batch]
const { randomUUID } = require("node:crypto")
const { createServer } = require("node:http")
const { createRequire } = require("node:module")

/** @type {typeof import("./sqlite.mjs").Sqlite} */
const Sqlite = createRequire(__filename)("../src/services/sqlite/BetterSqlite3.cjs").loadSqlite()

const database = new Sqlite(process.argv[2] ?? "")
database.pragma("journal_mode = WAL")
database.pragma("synchronous = FULL")

const columns = `id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at, started_at, stopped_at,
  pid, socket_path, uds_path, console_log_path, config_json`
const byName = database.prepare(`SELECT ${columns} FROM vms WHERE name = ?`)
const everyRow = database.prepare(`SELECT ${columns} FROM vms ORDER BY created_at DESC, rowid DESC`)
const tables = database.prepare("SELECT count(*) AS tables FROM sqlite_master")
const nextCid = database.prepare("SELECT coalesce(max(cid), 2) + 1 AS cid FROM vms")
const insert = database.prepare(
  `INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
)
const begin = database.prepare("BEGIN IMMEDIATE")
const commit = database.prepare("COMMIT")

/** @typedef {{ name: string, role?: string, vcpu_count?: number, mem_size_mib?: number }} Params */

/** @param {Params} params */
const create = ({ mem_size_mib = 128, name, role = "work", vcpu_count = 1 }) => {
  const now = Math.floor(Date.now() / 1000)
  const cid = nextCid.get()?.["cid"]
  const vm = {
    id: randomUUID(),
    name,
    role,
    state: "created",
    cid,
    vcpu_count,
    mem_size_mib,
    created_at: now,
    updated_at: now
  }
  insert.run(vm.id, name, role, vm.state, cid, vcpu_count, mem_size_mib, now, now)
  return vm
}

/** @typedef {import("node:http").ServerResponse} Response */

/**
 * @param {Response} response
 * @param {number} status
 * @param {string | Buffer} body
 */
const send = (response, status, body) => {
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
  response.end(body)
}

/** @type {Array<{ params: Params, response: Response }>} */
let waiting = []

const commitWaiting = () => {
  const batch = waiting
  waiting = []
  begin.run()
  const created = batch.map(({ params }) => create(params))
  commit.run()
  for (const [index, { response }] of batch.entries()) send(response, 201, JSON.stringify(created[index]))
}

const isBatching = process.argv.includes("--batch")

/**
 * @param {string} body
 * @param {Response} response
 */
const onCreate = (body, response) => {
  waiting.push({ params: JSON.parse(body), response })
  if (!isBatching) commitWaiting()
  else if (waiting.length === 1) setImmediate(commitWaiting)
}

/** The records as nexusd sends them, without unset fields. */
const records = () =>
  everyRow.all().map((row) => Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)))

/** Times reading the rows, and JSON.stringify of the records, without HTTP. */
const timeStringify = () => {
  const begun = performance.now()
  const rows = everyRow.all()
  const read = performance.now() - begun
  const same = records()
  const before = performance.now()
  const bytes = JSON.stringify(same).length
  return { rows: rows.length, bytes, read, stringify: performance.now() - before }
}

let ready = Buffer.alloc(0)

/**
 * @param {string} path
 * @param {Response} response
 */
const onGet = (path, response) => {
  if (path === "/v1/vms") return send(response, 200, JSON.stringify(everyRow.all()))
  if (path === "/v1/health") return send(response, 200, JSON.stringify({ status: "ok", ...tables.get() }))
  if (path === "/stringify") return send(response, 200, JSON.stringify(timeStringify()))
  if (path.startsWith("/ready/")) {
    const size = Number(path.slice("/ready/".length))
    if (ready.length !== size) ready = Buffer.alloc(size, " ")
    return send(response, 200, ready)
  }
  const vm = byName.get(decodeURIComponent(path.slice("/v1/vms/".length)))
  return vm === undefined ? send(response, 404, "{}") : send(response, 200, JSON.stringify(vm))
}

const server = createServer((request, response) => {
  if (request.method === "GET") return onGet(request.url ?? "", response)
  let body = ""
  request.setEncoding("utf8")
  request.on("data", (part) => {
    body += part
  })
  request.on("end", () => onCreate(body, response))
})
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  if (typeof address === "object") console.error(`listening on http://127.0.0.1:${address?.port}`)
})
