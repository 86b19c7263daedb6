import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { environment, folder } from "./processes.mjs"
import { nameOf } from "./requests.mjs"
import { seed } from "./seed.mjs"
import { startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const nexusctl = fileURLToPath(new URL("../dist/nexusctl.cjs", import.meta.url))
const minimal = fileURLToPath(new URL("./get.cjs", import.meta.url))

/**
 * Milliseconds from start to exit.
 *
 * @param {ReadonlyArray<string>} args
 */
const time = async (args) => {
  const begun = performance.now()
  const { signal, status, stderr, stdout } = spawnSync(process.execPath, args, {
    cwd: folder,
    env: environment,
    encoding: "utf8",
    timeout: 30_000
  })
  const millis = performance.now() - begun
  if (status !== 0 || !stdout.includes(nameOf(2)))
    throw new Error(`${args.join(" ")} ended with ${status ?? signal}: ${stdout}${stderr}`)
  return millis
}

/**
 * @param {import("./scale.mjs").Scale} scale
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measureCli = async ({ cli }) => {
  const daemon = await startNexusd(seed(3))
  const list = () => time([nexusctl, "--daemon", `127.0.0.1:${daemon.port}`, "vm", "list"])
  const get = () => time([minimal, String(daemon.port)])
  const bare = () => {
    const begun = performance.now()
    spawnSync(process.execPath, ["-e", "0"], { cwd: folder, env: environment, timeout: 30_000 })
    return Promise.resolve(performance.now() - begun)
  }
  await alternate(1, { list, get })
  const times = await alternate(cli.rounds, { list, get, bare })
  await daemon.stop()
  return [
    {
      path: "`nexusctl vm list` (3 VMs), start to exit",
      nexus: `${figure(median(times.list))} ms`,
      against: `minimal script ${figure(median(times.get))} ms`,
      value: median(times.list) / median(times.get),
      goal: { atMost: 2.4 },
      details: `The ratio went ${spread(times.list, times.get)}; \`node -e 0\` takes ${figure(median(times.bare))} ms.`
    }
  ]
}
