import { Agent, request } from "node:http"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { cpuTime, memory } from "./proc.mjs"
import { environment, startNode } from "./processes.mjs"
import { seed } from "./seed.mjs"
import { nameSentNow } from "./sent-at.mjs"
import { startNexusd } from "./servers.mjs"
import { figure, median } from "./statistics.mjs"

const perSecond = 100

/** Until the last events have arrived. */
const arrivalMillis = 1_000

/**
 * Starts subscribers, and returns once they follow.
 *
 * @param {number} port
 * @param {number} count
 */
const startSubscribers = async (port, count) => {
  const child = startNode([fileURLToPath(new URL("./follow.mjs", import.meta.url)), String(port), String(count)], {
    env: environment,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    serialization: "advanced"
  })
  /** @returns {Promise<ReadonlyArray<number>>} */
  const nextMessage = () =>
    new Promise((resolve, reject) => {
      child.once("message", resolve)
      child.once("exit", () => reject(new Error("the subscribers have ended")))
    })
  await nextMessage()
  return {
    lags: () => {
      child.send("lags")
      return nextMessage()
    },
    stop: () => child.kill()
  }
}

/**
 * Creates a record whose name says when, and returns the milliseconds until the answer.
 *
 * @param {number} port
 * @param {Agent} agent
 * @returns {Promise<number>}
 */
const create = (port, agent) =>
  new Promise((resolve, reject) => {
    const begun = performance.now()
    const headers = { "content-type": "application/json" }
    const posted = request({ host: "127.0.0.1", port, agent, method: "POST", path: "/v1/vms", headers }, (response) => {
      response.resume().once("end", () => {
        if (response.statusCode === 201) resolve(performance.now() - begun)
        else reject(new Error(`a create was answered with ${response.statusCode}`))
      })
    })
    posted.once("error", reject)
    posted.end(JSON.stringify({ name: nameSentNow() }))
  })

/**
 * Creates records at an even rate, and returns the milliseconds until each answer.
 *
 * @param {number} port
 * @param {number} seconds
 */
const createEvenly = async (port, seconds) => {
  const agent = new Agent({ keepAlive: true })
  const begun = performance.now()
  /** @type {Array<Promise<number>>} */
  const creates = []
  for (let at = 0; at < perSecond * seconds; at++) {
    const wait = begun + (at * 1000) / perSecond - performance.now()
    if (wait > 0) await setTimeout(wait)
    creates.push(create(port, agent))
  }
  const times = await Promise.all(creates)
  agent.destroy()
  return times
}

/**
 * Events to many subscribers at once.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureEvents = async ({ events: { seconds, subscribers: count } }) => {
  const { pid, port, stop } = await startNexusd(seed(0))
  const alone = await createEvenly(port, seconds / 2)
  const before = memory(pid)
  const subscribers = await startSubscribers(port, count)
  await createEvenly(port, 2)
  await setTimeout(arrivalMillis)
  await subscribers.lags()
  const [cpuBefore, begun] = [cpuTime(pid), performance.now()]
  const followed = await createEvenly(port, seconds)
  const cpu = (cpuTime(pid) - cpuBefore) / (performance.now() - begun)
  await setTimeout(arrivalMillis)
  const after = memory(pid)
  const lags = [...(await subscribers.lags())].sort((a, b) => a - b)
  subscribers.stop()
  await stop()
  if (lags.length !== count * perSecond * seconds) throw new Error(`${lags.length} events arrived`)

  const [p50, p99] = [0.5, 0.99].map((share) => lags[Math.floor(lags.length * share)] ?? Number.NaN)
  const mebibytes = (/** @type {number} */ bytes) => bytes / 1024 / 1024
  const load = `${count.toLocaleString("en")} event streams, ${perSecond} creates/s`
  return [
    {
      path: `${load}: lag p99, from a create's request to its event`,
      nexus: `${figure(p99 ?? Number.NaN)} ms`,
      against: "0",
      value: p99 ?? Number.NaN,
      unit: " ms",
      goal: { atMost: 500 },
      details:
        `The median was ${figure(p50 ?? Number.NaN)} ms. nexusd used ${Math.round(100 * cpu)}% of a core. A create took ` +
        `${figure(median(followed))} ms, and ${figure(median(alone))} ms without a stream.`
    },
    {
      path: `${load}: memory (RSS)`,
      nexus: `${figure(mebibytes(after))} MiB`,
      against: `before the streams ${figure(mebibytes(before))} MiB`,
      value: after / before,
      details: `${figure((after - before) / 1024 / count)} KiB a stream.`
    }
  ]
}
