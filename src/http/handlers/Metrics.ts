import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { version } from "../../domain/Version.js"
import { VmRole, VmState } from "../../domain/Vm.js"
import { collectedMetrics, type MetricFamily } from "../../runtime/MetricFamily.js"
import { StoreFigures, type VmCount } from "../../services/StoreFigures.js"
import { Api, prometheusContentType } from "../Api.js"
import * as HttpApiServer from "../server/HttpApiServer.js"
import { HttpResponse } from "../server/HttpResponse.js"

/** The exporter takes longer to load than the rest of nexusd's start allows: it is loaded at the first scrape. */
const exporter = Effect.promise(() => import("../../runtime/PrometheusExporter.js"))

/** Words of other daemons share one label, so that records can't make any number of series. */
const known = (words: ReadonlyArray<string>, word: string) => (words.includes(word) ? word : "other")
const roles: ReadonlyArray<string> = [...VmRole.literals, "other"]
const states: ReadonlyArray<string> = [...VmState.literals, "other"]

const vms = (counts: ReadonlyArray<VmCount>): MetricFamily => ({
  name: "nexus_vms",
  help: "VM records by role and state",
  type: "gauge",
  values: roles.flatMap((role) =>
    states.map((state) => ({
      labels: { role, state },
      value: counts
        .filter((count) => known(roles, count.role) === role && known(states, count.state) === state)
        .reduce((sum, { count }) => sum + count, 0)
    }))
  )
})

const gauge = (name: string, help: string, value: number, labels = {}): MetricFamily => ({
  name,
  help,
  type: "gauge",
  values: [{ labels, value }]
})

const buildInfo = gauge("nexus_build_info", "1, with the versions of nexusd and of its Node.js", 1, {
  version,
  node_version: process.version
})

/** `/metrics`. What the database does not tell is left out. */
export const layer = HttpApiServer.group(Api, "metrics", (handlers) =>
  Effect.map(StoreFigures, (figures) => {
    const read = Effect.all([figures.vmCounts, figures.sizeBytes]).pipe(Effect.either)
    return handlers.handle("scrape", () =>
      Effect.gen(function* () {
        const { expose } = yield* exporter
        const found = yield* read
        const database = gauge(
          "nexus_database_up",
          "Whether the database could be read at this scrape",
          Number(Either.isRight(found))
        )
        const inventory = Either.match(found, {
          onLeft: () => [],
          onRight: ([counts, bytes]) => [
            vms(counts),
            gauge("nexus_database_size_bytes", "Size of the database, without SQLite's write-ahead log", bytes)
          ]
        })
        const text = yield* Effect.promise(() => expose([buildInfo, database, ...inventory, ...collectedMetrics()]))
        return HttpResponse.bytes(prometheusContentType, text)
      })
    )
  })
)
