import { AggregatorRegistry, collectDefaultMetrics, Registry } from "prom-client"
import type { MetricFamily } from "./MetricFamily.js"

const processMetrics = new Registry()
collectDefaultMetrics({ register: processMetrics })
// Gauges whose names are those of counters, which promtool refuses. nodejs_active_handles and others have the same by type.
for (const name of ["nodejs_active_handles_total", "nodejs_active_requests_total", "nodejs_active_resources_total"]) {
  processMetrics.removeSingleMetric(name)
}

/** Text in Prometheus' format: these metrics, and those of the process. */
export const expose = async (families: ReadonlyArray<MetricFamily>): Promise<string> => {
  const own = families.map((family) => ({ ...family, aggregator: "sum" }))
  const texts = await Promise.all([AggregatorRegistry.aggregate([own]).metrics(), processMetrics.metrics()])
  return texts.join("\n")
}
