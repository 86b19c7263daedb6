import { cpuTime } from "./proc.mjs"

/**
 * What a server under load did.
 *
 * @typedef {object} Driven
 * @property {number} rate answers per second
 * @property {number} cpu microseconds of the server's computing for each answer
 * @property {number} busy the share of the time that the load generator computed
 */

/**
 * Sends one job's requests to a server and measures what they cost the server.
 *
 * @param {import("./generator.mjs").Generator} generator
 * @param {import("./servers.mjs").Server} server
 * @param {Omit<import("./load.mjs").Job, "port">} job
 * @returns {Promise<Driven>}
 */
export const drive = async (generator, { pid, port }, job) => {
  const before = cpuTime(pid)
  const { answers, busy, millis } = await generator.run({ ...job, port })
  return { rate: (answers / millis) * 1000, cpu: ((cpuTime(pid) - before) / answers) * 1000, busy }
}
