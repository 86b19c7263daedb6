// The baseline on PostgreSQL: node:http and pg alone. It runs nexusd's own statements, prepared, on as many connections,
// and validates nothing.
//
// node raw-postgres.cjs URL STATEMENTS, where STATEMENTS is JSON: {"find":…,"insert":…}
const { randomUUID } = require("node:crypto")
const { createServer } = require("node:http")
const Pg = require("pg")

const [, , connectionString = "", statements = "{}"] = process.argv
const { find, insert } = JSON.parse(statements)
Pg.types.setTypeParser(Pg.types.builtins.INT8, Number)
const pool = new Pg.Pool({ connectionString, max: 14 })

/** @typedef {import("node:http").ServerResponse} Response */

/**
 * @param {Response} response
 * @param {number} status
 * @param {string} body
 */
const send = (response, status, body) => {
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
  response.end(body)
}

/**
 * @param {string} body
 * @param {Response} response
 * @returns {Promise<void>}
 */
const onCreate = async (body, response) => {
  const { mem_size_mib = 128, name, role = "work", vcpu_count = 1 } = JSON.parse(body)
  const now = Math.floor(Date.now() / 1000)
  const vm = { id: randomUUID(), name, role, state: "created", cid: 0, vcpu_count, mem_size_mib, created_at: now }
  const values = [3, 4294967294, vm.id, name, role, vm.state, vcpu_count, mem_size_mib, now, now, null]
  const { rows } = await pool.query({ name: "insert", text: insert, values })
  if (rows[0].cid === null) return onCreate(body, response)
  return send(response, 201, JSON.stringify({ ...vm, cid: Number(rows[0].cid), updated_at: now }))
}

/**
 * @param {string} path
 * @param {Response} response
 */
const onGet = async (path, response) => {
  if (path === "/v1/health") return send(response, 200, "{}")
  const values = [[decodeURIComponent(path.slice("/v1/vms/".length))]]
  const { rows } = await pool.query({ name: "find", text: find, values })
  if (rows.length === 0) return send(response, 404, "{}")
  const { place: _, ...vm } = rows[0]
  return send(response, 200, JSON.stringify(vm))
}

const server = createServer((request, response) => {
  if (request.method === "GET") return void onGet(request.url ?? "", response)
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
