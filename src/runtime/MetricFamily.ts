import * as Metric from "effect/Metric"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

/** A metric with all its series, as prom-client's `getMetricsAsJSON` has it. */
export interface MetricFamily {
  readonly name: string
  readonly help: string
  readonly type: "counter" | "gauge" | "histogram"
  readonly values: ReadonlyArray<{
    readonly labels: Readonly<Record<string, string>>
    readonly value: number
    /** A series of a histogram has the name with `_bucket`, `_sum` or `_count`. */
    readonly metricName?: string
  }>
}

/** The metrics of nexusd that Effect collects. Effect's own, of fibers, have other names. */
const prefix = "nexus_"

const seriesOf = ({ metricKey: { name, tags }, metricState }: MetricPair.MetricPair.Untyped) => {
  const labels = Object.fromEntries(tags.map(({ key, value }) => [key, value]))
  if (MetricState.isCounterState(metricState)) {
    return { type: "counter", values: [{ labels, value: Number(metricState.count) }] } as const
  }
  if (MetricState.isGaugeState(metricState)) {
    return { type: "gauge", values: [{ labels, value: Number(metricState.value) }] } as const
  }
  if (!MetricState.isHistogramState(metricState)) return undefined
  const { buckets, count, sum } = metricState
  return {
    type: "histogram",
    values: [
      ...Array.from(buckets, ([boundary, value]) => ({
        metricName: `${name}_bucket`,
        labels: { ...labels, le: Number.isFinite(boundary) ? String(boundary) : "+Inf" },
        value
      })),
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count }
    ]
  } as const
}

/** What Effect has collected in this process. */
export const collectedMetrics = (): ReadonlyArray<MetricFamily> => {
  const families = new Map<string, MetricFamily>()
  for (const pair of Metric.unsafeSnapshot()) {
    const { description, name } = pair.metricKey
    const series = name.startsWith(prefix) ? seriesOf(pair) : undefined
    if (series === undefined) continue
    const { type, values } = series
    const help = Option.getOrElse(description, () => "")
    families.set(name, { name, help, type, values: [...(families.get(name)?.values ?? []), ...values] })
  }
  return Array.from(families.values())
}
