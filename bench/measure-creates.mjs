import { drive } from "./drive.mjs"
import { profile } from "./profile.mjs"
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
  const burst = (server, count) =>
    drive(generator, server, { connections, requests: createRequests(count).creates, status: 201 })
  for (const server of Object.values(servers)) await burst(server, creates.warm)
  const bursts = await alternate(creates.rounds, {
    nexus: () => burst(servers.nexus, creates.each),
    raw: () => burst(servers.raw, creates.each),
    batching: () => burst(servers.batching, creates.each)
  })
  for (const { stop } of Object.values(servers)) await stop()
  const where =
    creates.profiled === 0
      ? undefined
      : await profile(seed(0), ({ port }) =>
          generator.run({ port, connections, requests: createRequests(creates.profiled).creates, status: 201 })
        )

  /** @param {keyof typeof bursts} who */
  const rates = (who) => bursts[who].map(({ rate }) => rate)
  /** @param {keyof typeof bursts} who */
  const cpu = (who) => bursts[who].map(({ cpu }) => cpu)
  const busy = Math.round(100 * median(bursts.batching.map(({ busy }) => busy)))
  const nexus = median(rates("nexus"))
  /**
   * @param {"raw" | "batching"} who
   * @param {string} name
   * @param {number} atLeast
   */
  const rateRow = (who, name, atLeast) => ({
    path: `durable creates, ${connections} clients`,
    nexus: `${figure(nexus)}/s`,
    against: `${name} ${figure(median(rates(who)))}/s`,
    value: nexus / median(rates(who)),
    goal: { atLeast },
    details:
      `The ratio went ${spread(rates("nexus"), rates(who))}. Against the fastest server, the load generator computed ` +
      `${busy}% of the time.${where === undefined || who === "raw" ? "" : ` nexusd's time goes to: ${where}.`}`
  })
  /**
   * @param {"raw" | "batching"} who
   * @param {string} name
   */
  const cpuRow = (who, name) => ({
    path: "durable create, CPU",
    nexus: `${figure(median(cpu("nexus")))} µs`,
    against: `${name} ${figure(median(cpu(who)))} µs`,
    value: median(cpu("nexus")) / median(cpu(who)),
    details: `The ratio went ${spread(cpu("nexus"), cpu(who))}.`
  })
  const names = { raw: "raw server, a transaction each", batching: "raw server that batches" }
  return [
    rateRow("raw", names.raw, 2.2),
    rateRow("batching", names.batching, 0.55),
    cpuRow("raw", names.raw),
    cpuRow("batching", names.batching)
  ]
}
