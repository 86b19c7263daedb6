import { drive } from "./drive.mjs"
import { profile } from "./profile.mjs"
import { getRequests, listRequest } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const connections = 32
const records = 1_000

/** How many times a GET's computing a list of so many records may cost. */
const goals = [
  { size: 0, atMost: 1.3 },
  { size: 10, atMost: 1.8 },
  { size: 100, atMost: 5 }
]

/**
 * The computing of a short list, against that of a GET by name.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureSmallLists = async ({ smallLists: { millis, profiled, rounds, warm } }, generator) => {
  const gets = { connections, requests: getRequests(records), status: 200 }
  const lists = { connections, requests: [listRequest], status: 200 }
  const contenders = [
    { name: "get", server: await startNexusd(seed(records)), job: gets },
    ...(await Promise.all(
      goals.map(async ({ size }) => ({ name: `list ${size}`, server: await startNexusd(seed(size)), job: lists }))
    ))
  ]
  for (const { job, server } of contenders) await generator.run({ ...job, port: server.port, count: warm })
  const driven = await alternate(
    rounds,
    Object.fromEntries(
      contenders.map(({ job, name, server }) => [name, () => drive(generator, server, { ...job, millis })])
    )
  )
  for (const { server } of contenders) await server.stop()

  /** @param {string} name */
  const cpu = (name) => (driven[name] ?? []).map((one) => one.cpu)
  const rows = []
  for (const { atMost, size } of goals) {
    const [list, get] = [cpu(`list ${size}`), cpu("get")]
    const parts =
      profiled === 0
        ? ""
        : ` Its time goes to: ${await profile(seed(size), ({ port }) => generator.run({ ...lists, port, count: profiled }))}.`
    rows.push({
      path: `list of ${size} records, CPU`,
      nexus: `${figure(median(list))} µs`,
      against: `GET by name ${figure(median(get))} µs`,
      value: median(list) / median(get),
      goal: { atMost },
      details: `The ratio went ${spread(list, get)}.${parts}`
    })
  }
  return rows
}
