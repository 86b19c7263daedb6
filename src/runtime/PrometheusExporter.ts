import { AggregatorRegistry } from "prom-client"
import type { MetricFamily } from "./MetricFamily.js"
import { makeProcessMetrics } from "./ProcessMetrics.js"

const processMetrics = makeProcessMetrics()

/** Text in Prometheus' format: these metrics, and those of the process. */
export const expose = (families: ReadonlyArray<MetricFamily>): Promise<string> =>
  AggregatorRegistry.aggregate([
    [...families, ...processMetrics()].map((family) => ({ ...family, aggregator: "sum" }))
  ]).metrics()
