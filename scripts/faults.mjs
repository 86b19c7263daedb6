// Runs the fault tests at full scale and prints a table with a row for each promise. Passes its arguments to vitest.
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = mkdtempSync(join(tmpdir(), "nexus-faults-"))
const report = join(folder, "report.jsonl")
const vitestArguments = process.argv.slice(2)

// Files run in sequence, since fault tests load the machine.
const { status } = spawnSync(
  "npx",
  ["vitest", "run", "--no-file-parallelism", ...(vitestArguments.length > 0 ? vitestArguments : ["test/faults"])],
  { stdio: "inherit", env: { ...process.env, NEXUS_FAULTS: "full", NEXUS_FAULTS_REPORT: report } }
)

/** @type {Array<{ promise: string, trials: string, asserted: string, result: string }>} */
const findings = existsSync(report)
  ? readFileSync(report, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
  : []
rmSync(folder, { recursive: true })

console.log("\n| promise | trials | asserted | result |\n|---|---|---|---|")
for (const { asserted, promise, result, trials } of findings) {
  console.log(`| ${promise} | ${trials} | ${asserted} | ${result} |`)
}
process.exitCode = status ?? 1
