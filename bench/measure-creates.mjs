import { cpuTime } from "./proc.mjs"
import { createRequests } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd, startRaw } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const connections = 32

/**
 * @param {import("./scale.mjs").Scale} scale
 * @param {import("./generator.mjs").Generator} generator
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureCreates = async ({ creates }, generator) => {
  const servers = {
    nexus: await startNexusd(seed(0)),
    raw: await startRaw(seed(0)),
    batching: await startRaw(seed(0), ["--batch"])
  }
  /**
   * @param {import("./servers.mjs").Server} server
   * @param {number} count
   */
  const burst = async ({ pid, port }, count) => {
    const before = cpuTime(pid)
    const requests = createRequests(count).creates
    const { answers, busy, millis } = await generator.run({ port, connections, requests, status: 201 })
    return { rate: (answers / millis) * 1000, cpu: ((cpuTime(pid) - before) / answers) * 1000, busy }
  }
  for (const server of Object.values(servers)) await burst(server, creates.warm)
  const bursts = await alternate(creates.rounds, {
    nexus: () => burst(servers.nexus, creates.each),
    raw: () => burst(servers.raw, creates.each),
    batching: () => burst(servers.batching, creates.each)
  })
  for (const { stop } of Object.values(servers)) await stop()

  /** @param {keyof typeof bursts} who */
  const rates = (who) => bursts[who].map(({ rate }) => rate)
  /** @param {keyof typeof bursts} who */
  const cpu = (who) => figure(median(bursts[who].map(({ cpu }) => cpu)))
  const busy = Math.round(100 * median(bursts.batching.map(({ busy }) => busy)))
  const nexus = median(rates("nexus"))
  /**
   * @param {"raw" | "batching"} who
   * @param {string} name
   * @param {number} atLeast
   */
  const row = (who, name, atLeast) => ({
    path: `durable creates, ${connections} clients`,
    nexus: `${figure(nexus)}/s`,
    against: `${name} ${figure(median(rates(who)))}/s`,
    value: nexus / median(rates(who)),
    goal: { atLeast },
    shows:
      `The ratio went ${spread(rates("nexus"), rates(who))}. A create costs nexusd ${cpu("nexus")} µs of computing, ` +
      `this server ${cpu(who)} µs. Beside the fastest, the load generator computed ${busy}% of the time.`
  })
  return [row("raw", "raw server, a transaction each", 2), row("batching", "raw server that batches", 0.4)]
}
