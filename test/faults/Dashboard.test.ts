import { spawn } from "node:child_process"
import { chmodSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Schema from "effect/Schema"
import { describe, expect, it } from "vitest"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { type AtEnd, type Home, makeHome } from "../support/Home.js"
import { sendRequest } from "../support/HttpJson.js"
import { projectFolder } from "../support/Programs.js"
import { needsPrometheus, prometheusPath } from "../support/Prometheus.js"
import { report } from "./Report.js"

const Target = Schema.Struct({ expr: Schema.String, refId: Schema.String })
const Dashboard = Schema.parseJson(
  Schema.Struct({
    panels: Schema.Array(Schema.Struct({ title: Schema.String, targets: Schema.Array(Target) })),
    templating: Schema.Struct({
      list: Schema.Array(Schema.Struct({ name: Schema.String, type: Schema.String, query: Schema.String }))
    })
  })
)

const dashboard = Schema.decodeSync(Dashboard)(
  readFileSync(join(projectFolder, "packaging/grafana-dashboard.json"), "utf8")
)

/** A query as Grafana sends it with all jobs and daemons chosen. */
const interpolate = (query: string) =>
  query.replace(/\$(\w+)/g, (_, name) => {
    if (name === "__rate_interval") return "5s"
    const variable = dashboard.templating.list.find((variable) => variable.name === name)
    if (variable === undefined) throw new Error(`${query} has the unknown variable ${name}`)
    return ".*"
  })

const Answer = Schema.parseJson(
  Schema.Struct({
    status: Schema.String,
    error: Schema.optional(Schema.String),
    data: Schema.optional(Schema.Unknown)
  })
)
const Vector = Schema.Struct({ result: Schema.Array(Schema.Unknown) })

/** Prometheus, which scrapes a daemon four times a second. Returns its URL. */
const startPrometheus = async (atEnd: AtEnd, home: Home, daemon: Daemon, tokenFile: string) => {
  const config = home.write(
    "prometheus.yml",
    JSON.stringify({
      global: { scrape_interval: "250ms", scrape_timeout: "250ms" },
      scrape_configs: [
        {
          job_name: "nexus",
          scrape_timeout: "250ms",
          authorization: { credentials_file: tokenFile },
          static_configs: [{ targets: [daemon.address] }]
        }
      ]
    })
  )
  const address = `127.0.0.1:${await freePort()}`
  const child = spawn(
    prometheusPath ?? "prometheus",
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(home.path, "prometheus")}`,
      `--web.listen-address=${address}`,
      "--log.level=error"
    ],
    { stdio: "ignore" }
  )
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
  atEnd(async () => {
    child.kill("SIGKILL")
    await ended
  })
  return { url: `http://${address}` }
}

/** Fails with Prometheus' own words for a query that it can't read. */
const ask = async (prometheus: { readonly url: string }, path: string) => {
  const { text } = await sendRequest(prometheus, "GET", path)
  const { data, error, status } = Schema.decodeSync(Answer)(text)
  if (status !== "success") throw new Error(`${path}: ${error}`)
  return data
}

const seriesOf = async (prometheus: { readonly url: string }, query: string) =>
  Schema.decodeUnknownSync(Vector)(await ask(prometheus, `/api/v1/query?query=${encodeURIComponent(query)}`)).result

describe("the dashboard", () => {
  it.skipIf(prometheusPath === undefined)(
    `has queries that a Prometheus answers which scrapes a daemon${needsPrometheus}`,
    async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      const token = "0123456789abcdef0123456789abcdef"
      const tokenFile = home.write("token", token)
      chmodSync(tokenFile, 0o600)
      const daemon = await startDaemon(home, { env: { NEXUS_API_TOKEN_FILE: tokenFile } })
      const prometheus = await startPrometheus(onTestFinished, home, daemon, tokenFile)
      const isReady = () => sendRequest(prometheus, "GET", "/-/ready").then(({ status }) => status === 200)
      await expect.poll(() => isReady().catch(() => false), { timeout: 120_000 }).toBe(true)
      const follower = new AbortController()
      const headers = { authorization: `Bearer ${token}` }
      await fetch(`${daemon.url}/v1/events`, { headers, signal: follower.signal })

      let created = 0
      /** Requests of each kind: a rate needs changes between scrapes. */
      const use = async () => {
        const content = { name: `vm-${++created}` }
        await sendRequest(daemon, "POST", "/v1/vms", { headers, content })
        for (const path of ["/v1/vms/vm-1", "/v1/vms/ghost", "/nowhere"]) {
          await sendRequest(daemon, "GET", path, { headers })
        }
      }
      const queries = dashboard.panels.flatMap(({ targets, title }) =>
        targets.map(({ expr, refId }) => ({ name: `${title} ${refId}`, query: interpolate(expr) }))
      )
      expect(queries.length).toBeGreaterThan(30)
      const unanswered = async () => {
        await use()
        const counts = await Promise.all(
          queries.map(async ({ name, query }) => [name, (await seriesOf(prometheus, query)).length] as const)
        )
        return counts.filter(([, count]) => count === 0).map(([name]) => name)
      }
      await expect.poll(unanswered, { timeout: 120_000, interval: 250 }).toEqual([])

      for (const { query, type } of dashboard.templating.list.filter(({ type }) => type === "query")) {
        const [, selector = "", label] = /^label_values\((.+), (\w+)\)$/.exec(query) ?? []
        const match = encodeURIComponent(interpolate(selector))
        expect(await ask(prometheus, `/api/v1/label/${label}/values?match[]=${match}`), `${type} ${query}`).toEqual([
          label === "job" ? "nexus" : daemon.address
        ])
      }
      // A query of what does not exist has no answer.
      expect(await seriesOf(prometheus, "nexus_vmz")).toEqual([])
      follower.abort()
      report({
        promise: "the dashboard shows what the daemon measures",
        trials: `${queries.length} queries of ${dashboard.panels.length} panels, by a Prometheus that scrapes a daemon with a token`,
        asserted: "each is answered with series",
        result: `${queries.length} answered`
      })
    }
  )
})
