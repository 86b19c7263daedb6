import { fileURLToPath } from "node:url"
import { environment, startNode } from "./processes.mjs"

/** @typedef {import("./load.mjs").Job} Job */
/** @typedef {import("./load.mjs").Outcome} Outcome */
/** @typedef {{ run: (job: Job) => Promise<Outcome>, stop: () => void }} Generator */

/** Longer than any job takes: a run ends even if a server hangs. */
const jobTimeoutMillis = 120_000

/**
 * Starts the load generator.
 *
 * @returns {Generator}
 */
export const startGenerator = () => {
  const child = startNode([fileURLToPath(new URL("./load.mjs", import.meta.url))], {
    env: environment,
    stdio: ["ignore", "inherit", "inherit", "ipc"]
  })
  return {
    run: (job) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error("a job of the load generator takes too long")), jobTimeoutMillis)
        child.once("message", (/** @type {{ outcome: Outcome } | { error: string }} */ message) => {
          clearTimeout(late)
          if ("error" in message) reject(new Error(message.error))
          else resolve(message.outcome)
        })
        child.send(job)
      }),
    stop: () => child.disconnect()
  }
}
