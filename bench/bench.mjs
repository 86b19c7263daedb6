// Measures Nexus against raw baselines and prints each figure with its goal. A full run also writes docs/benchmarks.md
// and docs/benchmarks.svg.
//
// node bench/bench.mjs [--quick] [--check] [--postgres]
//
// --postgres takes the measurements on PostgreSQL alone, and writes nothing.
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { chart } from "./chart.mjs"
import { timeFsync } from "./fsync.mjs"
import { startGenerator } from "./generator.mjs"
import { machine } from "./machine.mjs"
import { measureCli } from "./measure-cli.mjs"
import { measureCreates } from "./measure-creates.mjs"
import { measureEvents } from "./measure-events.mjs"
import { measureGets } from "./measure-gets.mjs"
import { measureGrowth } from "./measure-growth.mjs"
import { measureList } from "./measure-list.mjs"
import { measureLongList } from "./measure-long-list.mjs"
import { measureMemory } from "./measure-memory.mjs"
import { hasChromium, measurePage } from "./measure-page.mjs"
import { measurePages } from "./measure-pages.mjs"
import { hasPgBouncer, measurePooler } from "./measure-pooler.mjs"
import { measurePostgres } from "./measure-postgres.mjs"
import { measurePostgresGrowth } from "./measure-postgres-growth.mjs"
import { measureScrape } from "./measure-scrape.mjs"
import { measureSmallLists } from "./measure-small-lists.mjs"
import { measureStart } from "./measure-start.mjs"
import { hasFirecracker, measureVms } from "./measure-vms.mjs"
import { hasPostgres } from "./postgres.mjs"
import { postgresGrowthTable, report } from "./report.mjs"
import { isMet, table } from "./row.mjs"
import { scaleOf } from "./scale.mjs"
import { makeSchema } from "./seed.mjs"
import { figure } from "./statistics.mjs"

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    postgres: { type: "boolean", default: false }
  }
})
const scale = scaleOf(flags.quick)

const limit = setTimeout(() => {
  console.error("the benchmark did not end within twenty minutes: is the machine busy?")
  process.exit(2)
}, 1_200_000)

/**
 * @template A
 * @param {string} name
 * @param {Promise<A>} measuring
 */
const timed = async (name, measuring) => {
  const begun = performance.now()
  const result = await measuring
  console.error(`${name}: ${figure((performance.now() - begun) / 1000)} s`)
  return result
}

const generator = startGenerator()
await makeSchema()
const fsync = timeFsync()

/** @type {Array<import("./row.mjs").Row>} */
const rows = []
const onSqlite = flags.postgres
  ? []
  : [
      measureCli,
      measureStart,
      measureMemory,
      measureCreates,
      measureGets,
      measureSmallLists,
      measurePages,
      measureList,
      measureLongList,
      measureScrape,
      measureEvents
    ]
for (const measure of onSqlite) rows.push(...(await timed(measure.name, measure(scale, generator))))
const { growth, rows: grown } = flags.postgres
  ? { growth: [], rows: [] }
  : await timed("measureGrowth", measureGrowth(scale, generator))
rows.push(...grown)
if (!flags.postgres) {
  if (hasChromium()) rows.push(...(await timed("measurePage", measurePage(scale))))
  else console.error("The web page: skipped, since chromium is missing")
}
if (!flags.postgres) {
  if (hasFirecracker()) rows.push(...(await timed("measureVms", measureVms(scale, generator))))
  else console.error("Firecracker: skipped, since it or /dev/kvm is missing")
}
if (hasPostgres) rows.push(...(await timed("measurePostgres", measurePostgres(scale))))
else console.error("PostgreSQL: skipped, since its initdb and pg_ctl are missing")
const { growth: postgresGrowth, rows: postgresGrown } = hasPostgres
  ? await timed("measurePostgresGrowth", measurePostgresGrowth(scale, generator))
  : { growth: [], rows: [] }
rows.push(...postgresGrown)
if (hasPgBouncer) rows.push(...(await timed("measurePooler", measurePooler(scale, generator))))
else console.error("PgBouncer: skipped, since it or PostgreSQL is missing")
generator.stop()
clearTimeout(limit)

const about = machine()
console.log(about.map(([what, value]) => `${what}: ${value}`).join("\n"))
console.log(`fdatasync of 4 KiB: ${figure(fsync)} ms\n\n${table(rows)}\n`)
for (const { path, details } of rows.filter((row) => flags.postgres || !isMet(row))) console.log(`${path}: ${details}`)
if (flags.postgres) console.log(`\n${postgresGrowthTable(postgresGrowth)}`)

if (!flags.quick && !flags.postgres) {
  const docs = new URL("../docs/", import.meta.url)
  const minutes = performance.now() / 60_000
  writeFileSync(
    new URL("benchmarks.md", docs),
    report({ rows, growth, postgresGrowth, machine: about, fsync, minutes })
  )
  writeFileSync(new URL("benchmarks.svg", docs), chart(growth))
}
if (flags.check && !rows.every(isMet)) process.exitCode = 1
