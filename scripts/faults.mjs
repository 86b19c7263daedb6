// Runs the fault tests at full scale and prints a table, promise by promise. Arguments go to vitest, such as a file's name.
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = mkdtempSync(join(tmpdir(), "nexus-faults-"))
const report = join(folder, "report.jsonl")
const wanted = process.argv.slice(2)

// One file after the other: a fault test needs the machine to itself.
const { status } = spawnSync(
  "npx",
  ["vitest", "run", "--no-file-parallelism", ...(wanted.length > 0 ? wanted : ["test/faults"])],
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
