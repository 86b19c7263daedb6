import { mkdtempSync, readdirSync, readFileSync } from "node:fs"
import { SourceMap } from "node:module"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { folder } from "./processes.mjs"
import { startNexusd } from "./servers.mjs"

/**
 * As much of V8's .cpuprofile as is needed here.
 *
 * @typedef {object} Profile
 * @property {ReadonlyArray<{ id: number, callFrame: Frame }>} nodes
 * @property {ReadonlyArray<number>} samples
 * @property {ReadonlyArray<number>} timeDeltas
 *
 * @typedef {{ functionName: string, url: string, lineNumber: number, columnNumber: number }} Frame
 */

/**
 * @param {Frame} frame
 * @param {SourceMap} map
 */
const partOf = ({ columnNumber, functionName, lineNumber, url }, map) => {
  if (functionName === "(garbage collector)") return "garbage collection"
  if (url.startsWith("node:")) return "Node.js"
  if (url === "") return "native code and system calls"
  if (!url.endsWith("nexusd.bundle.cjs")) return "other"
  const entry = map.findEntry(lineNumber, columnNumber)
  const source = "originalSource" in entry ? entry.originalSource : ""
  const found = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1]
  // SQLite's time counts as its caller's.
  return found === "@effect/sql-sqlite-node" ? `${found} with SQLite` : (found ?? "nexusd's own source")
}

/**
 * Profiles nexusd under load and returns each package's share of its CPU time, as text.
 *
 * @param {string} database
 * @param {(server: import("./servers.mjs").Server) => Promise<unknown>} use
 */
export const profile = async (database, use) => {
  const out = mkdtempSync(join(folder, "profile-"))
  const daemon = await startNexusd(database, ["--cpu-prof", `--cpu-prof-dir=${out}`])
  await use(daemon)
  await daemon.stop()

  /** @type {Profile} */
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(out, readdirSync(out)[0] ?? ""), "utf8"))
  const bundle = fileURLToPath(new URL("../dist/nexusd.bundle.cjs.map", import.meta.url))
  const map = new SourceMap(JSON.parse(readFileSync(bundle, "utf8")))
  const parts = new Map(
    nodes.map(({ callFrame, id }) => [id, callFrame.functionName === "(idle)" ? undefined : partOf(callFrame, map)])
  )
  /** @type {Map<string, number>} */
  const times = new Map()
  for (const [index, id] of samples.entries()) {
    const part = parts.get(id)
    if (part !== undefined) times.set(part, (times.get(part) ?? 0) + (timeDeltas[index] ?? 0))
  }
  const total = [...times.values()].reduce((sum, time) => sum + time, 0)
  return [...times]
    .map(([part, time]) => ({ part, percent: Math.round((100 * time) / total) }))
    .filter(({ percent }) => percent > 0)
    .sort((a, b) => b.percent - a.percent)
    .map(({ part, percent }) => `${part} ${percent}%`)
    .join(", ")
}
