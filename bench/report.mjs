import { isMet, table } from "./row.mjs"
import { figure } from "./statistics.mjs"

/**
 * The time of calls by the number of records in PostgreSQL.
 *
 * @param {ReadonlyArray<import("./measure-postgres-growth.mjs").PostgresGrowth>} growth
 */
export const postgresGrowthTable = (growth) =>
  [
    "| records in PostgreSQL | create | get |",
    "|---|---|---|",
    ...growth.map(
      ({ create, get, records }) => `| ${records.toLocaleString("en")} | ${figure(create)} | ${figure(get)} |`
    )
  ].join("\n")

/**
 * docs/benchmarks.md.
 *
 * @param {object} run
 * @param {ReadonlyArray<import("./row.mjs").Row>} run.rows
 * @param {ReadonlyArray<import("./measure-growth.mjs").Growth>} run.growth
 * @param {ReadonlyArray<import("./measure-postgres-growth.mjs").PostgresGrowth>} run.postgresGrowth
 * @param {ReadonlyArray<readonly [what: string, value: string]>} run.machine
 * @param {number} run.fsync
 * @param {number} run.minutes
 */
export const report = ({ fsync, growth, machine, minutes, postgresGrowth, rows }) => {
  const missed = rows.filter((row) => !isMet(row))
  /** @param {import("./row.mjs").Row} row */
  const explain = ({ against, path, details }) =>
    `- **${path}**${against === "" ? "" : `, against ${against}`}. ${details}`
  return `# Benchmarks

Nexus against the least that does the same: a server of \`node:http\` and better-sqlite3 alone
([raw.cjs](../bench/raw.cjs)), with the same schema and the same durability (WAL, \`synchronous=FULL\`), and a
script of \`node:http\` alone ([get.cjs](../bench/get.cjs)). Both ran in turn, round by round, on one machine; the
figures are medians. On PostgreSQL it is a server of \`node:http\` and pg alone
([raw-postgres.cjs](../bench/raw-postgres.cjs)) that runs nexusd's own statements, on a server with initdb's settings
(commits wait for the disk). Ratios can be compared between machines, times can't.

${table(rows)}

One \`fdatasync\` after an append of 4 KiB takes ${figure(fsync)} ms on this disk (median of 100).

## ${missed.length === 0 ? "No goal was missed" : "Missed"}

${missed.length === 0 ? "Every ratio above is within its goal." : missed.map(explain).join("\n")}

## Details

${rows.filter(isMet).map(explain).join("\n")}

## Growth

Milliseconds of one call of one client:

| records | create | get | list |
|---|---|---|---|
${growth
  .map(
    ({ create, get, list, records }) =>
      `| ${records.toLocaleString("en")} | ${[create, get, list].map(figure).join(" | ")} |`
  )
  .join("\n")}

![create, get and list from 100 to 100,000 records](benchmarks.svg)

${postgresGrowth.length === 0 ? "PostgreSQL was skipped: its initdb and pg_ctl were missing." : postgresGrowthTable(postgresGrowth)}

## Machine

| | |
|---|---|
${machine.map(([what, value]) => `| ${what} | ${value} |`).join("\n")}
| date | ${new Date().toISOString().slice(0, 10)} |

## To repeat it

\`npm run bench\` takes ${Math.ceil(minutes)} minutes and writes this page; the machine should have nothing else to do.
\`npm run bench -- --quick\` takes under one and writes nothing; \`--check\` exits with 1 when a goal is missed. Files are
kept in a temporary folder on disk, \`/var/tmp\` unless \`TMPDIR\` says otherwise.
`
}
