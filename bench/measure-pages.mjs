import { get } from "node:http"
import { drive } from "./drive.mjs"
import { pageRequest } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const connections = 4
const few = 1_000
const many = 100_000
const limit = 100

/**
 * The path of the next page, from the `Link` header.
 *
 * @param {number} port
 * @param {string} path
 * @returns {Promise<string>}
 */
const nextPage = (port, path) =>
  new Promise((resolve, reject) => {
    const request = get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
      response.resume().once("error", reject)
      const found = /<([^>]+)>; rel="next"/.exec(String(response.headers["link"]))?.[1]
      if (found === undefined) reject(new Error(`${path}: no next page`))
      else resolve(found)
    })
    request.once("error", reject)
  })

/**
 * The path of the page that begins in the middle of the list.
 *
 * @param {number} port
 * @param {string} query
 * @param {number} records that the query matches
 */
const middlePage = async (port, query, records) => {
  const step = Math.min(1_000, Math.floor(records / 2))
  let path = `/v1/vms?${query}limit=${step}`
  for (let passed = 0; passed + step <= records / 2; passed += step) path = await nextPage(port, path)
  return path.replace(`limit=${step}`, `limit=${limit}`)
}

/**
 * The computing of one page of a long list, against that of the same page of a short one.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measurePages = async ({ pages: { millis, rounds, warm } }, generator) => {
  const servers = [
    { records: few, server: await startNexusd(seed(few, ["portal", "work", "service"])) },
    { records: many, server: await startNexusd(seed(many, ["portal", "work", "service"])) }
  ]
  /** @type {Record<string, () => Promise<import("./drive.mjs").Driven>>} */
  const contenders = {}
  for (const { records, server } of servers) {
    for (const { name, query, share } of [
      { name: "", query: "", share: 1 },
      { name: " with role", query: "role=work&", share: 1 / 3 }
    ]) {
      const pages = {
        first: `/v1/vms?${query}limit=${limit}`,
        middle: await middlePage(server.port, query, Math.floor(records * share))
      }
      for (const [place, path] of Object.entries(pages)) {
        const job = { connections, requests: [pageRequest(path)], status: 200 }
        await generator.run({ ...job, port: server.port, count: warm })
        contenders[`${place} page of ${limit}${name} ${records}`] = () => drive(generator, server, { ...job, millis })
      }
    }
  }
  const driven = await alternate(rounds, contenders)
  for (const { server } of servers) await server.stop()

  return Object.keys(contenders)
    .filter((name) => name.endsWith(` ${few}`))
    .map((name) => {
      const path = name.slice(0, -` ${few}`.length)
      /** @param {number} records */
      const cpu = (records) => (driven[`${path} ${records}`] ?? []).map((one) => one.cpu)
      return {
        path: `${path}, at ${many.toLocaleString("en")} records, CPU`,
        nexus: `${figure(median(cpu(many)))} µs`,
        against: `at ${few.toLocaleString("en")} records ${figure(median(cpu(few)))} µs`,
        value: median(cpu(many)) / median(cpu(few)),
        goal: { atMost: 2 },
        details: `The ratio went ${spread(cpu(many), cpu(few))}.`
      }
    })
}
