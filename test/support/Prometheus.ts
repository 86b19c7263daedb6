import { spawnSync } from "node:child_process"
import { programPath } from "../../src/services/vmm/ProgramPath.js"

/** Prometheus' own programs, of Debian's package `prometheus`. */
export const prometheusPath = programPath("prometheus")
const promtoolPath = programPath("promtool")

/** Suffixes for titles of tests that need them. */
export const needsPrometheus = prometheusPath === undefined ? " (skipped: needs prometheus)" : ""
export const needsPromtool = promtoolPath === undefined ? " (skipped: needs promtool)" : ""

/** What `promtool check metrics` says of a scrape: nothing, if its names, types and help are as they should be. */
export const checkMetrics = (text: string) => {
  const { status, stderr, stdout } = spawnSync(promtoolPath ?? "promtool", ["check", "metrics"], {
    input: text,
    encoding: "utf8"
  })
  return { status, output: stdout + stderr }
}
