import { get } from "node:http"
import { fileURLToPath } from "node:url"
import { environment, startNode } from "./processes.mjs"

const nexusd = fileURLToPath(new URL("../dist/nexusd.cjs", import.meta.url))
const raw = fileURLToPath(new URL("./raw.cjs", import.meta.url))
const rawPostgres = fileURLToPath(new URL("./raw-postgres.cjs", import.meta.url))

/**
 * @typedef {object} Server
 * @property {number} pid
 * @property {number} port
 * @property {number} readyAfter milliseconds from its start to its first answer
 * @property {() => Promise<void>} stop
 */

/**
 * Makes one GET and returns its body.
 *
 * @param {number} port
 * @param {string} path
 * @returns {Promise<string>}
 */
export const fetchText = (port, path) =>
  new Promise((resolve, reject) => {
    const request = get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (part) => {
        text += part
      })
      response.on("error", reject)
      response.on("end", () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(`${path}: ${response.statusCode} ${text}`))
      )
    })
    request.on("error", reject)
  })

/** How long a server may take to listen, and to end after SIGTERM. */
const serverTimeoutMillis = 30_000

/**
 * @param {ReadonlyArray<string>} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<Server>}
 */
const start = async (args, env) => {
  const begun = performance.now()
  const child = startNode(args, { env, stdio: ["ignore", "ignore", "pipe"] })
  /** @type {Promise<void>} */
  const ended = new Promise((resolve) => child.once("exit", () => resolve()))
  let said = ""
  /** @type {number} */
  const port = await new Promise((resolve, reject) => {
    const fail = () => reject(new Error(`${args.join(" ")} does not listen: ${said}`))
    const late = setTimeout(fail, serverTimeoutMillis)
    ended.then(fail)
    child.stderr?.setEncoding("utf8").on("data", (text) => {
      said += text
      const found = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(said)
      if (found === null) return
      clearTimeout(late)
      resolve(Number(found[1]))
    })
  })
  await fetchText(port, "/v1/health")
  const readyAfter = performance.now() - begun
  let isStopped = false
  child.once("exit", (code, signal) => {
    if (isStopped) return
    console.error(`${args.join(" ")} ended by itself (${code ?? signal}): ${said}`)
    process.exit(1)
  })
  return {
    pid: child.pid ?? 0,
    port,
    readyAfter,
    stop: async () => {
      isStopped = true
      child.kill("SIGTERM")
      const late = setTimeout(() => child.kill("SIGKILL"), serverTimeoutMillis)
      await ended
      clearTimeout(late)
    }
  }
}

/**
 * @param {string} database
 * @param {ReadonlyArray<string>} flags for Node.js
 * @param {NodeJS.ProcessEnv} settings
 */
export const startNexusd = (database, flags = [], settings = {}) =>
  start([...flags, nexusd], {
    ...environment,
    NEXUS_API_LISTEN: "127.0.0.1:0",
    NEXUS_DATABASE_URL: database,
    ...settings
  })

/**
 * @param {string} database
 * @param {ReadonlyArray<"--batch">} flags
 */
export const startRaw = (database, flags = []) => start([raw, database, ...flags], environment)

/**
 * @param {string} url
 * @param {import("./postgres-statements.mjs").Statements} statements
 */
export const startRawPostgres = (url, statements) => start([rawPostgres, url, JSON.stringify(statements)], environment)
