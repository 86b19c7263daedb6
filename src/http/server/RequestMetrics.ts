import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import { formatTemplate } from "./Router.js"

const requests = Metric.counter("nexus_http_requests_total", {
  description: "Requests that were answered, by method, route and status",
  incremental: true
})

const durations = Metric.histogram(
  "nexus_http_request_duration_seconds",
  MetricBoundaries.fromIterable([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]),
  "Time from a whole request to the end of its response, by method and route"
)

const inFlight = Metric.gauge("nexus_http_requests_in_flight", {
  description: "Requests in progress: ordinary ones, and those that take long"
})

const kindLabels = {
  ordinary: [MetricLabel.make("kind", "ordinary")],
  longLived: [MetricLabel.make("kind", "long_lived")]
} as const

// Series exist from the start: a rate needs a first value.
for (const labels of Object.values(kindLabels)) inFlight.unsafeUpdate(0, labels)

/** Counts requests in progress. */
export const changeInFlight = (kind: keyof typeof kindLabels, change: 1 | -1) =>
  inFlight.unsafeModify(change, kindLabels[kind])

/** RFC 9110, 9.3 and RFC 5789. node:http accepts a fixed set of further methods, none of which is served. */
const knownMethods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])

/** Labels by which a metric finds its series. `Metric.unsafeUpdate` caches by the identity of the array. */
interface Series {
  readonly counted: ReadonlyArray<MetricLabel.MetricLabel>
  readonly timed: ReadonlyArray<MetricLabel.MetricLabel>
}

const makeSeries = (method: string, route: string | undefined, status: string): Series => {
  const timed = [
    MetricLabel.make("method", knownMethods.has(method) ? method : "other"),
    MetricLabel.make("route", route === undefined ? "none" : formatTemplate(route))
  ]
  return { timed, counted: [...timed, MetricLabel.make("status", status)] }
}

/** By route, status and method: a key of one string would cost more than the rest. */
const knownSeries = new Map<string | undefined, Map<number | undefined, Map<string, Series>>>()

const findSeries = (method: string, route: string | undefined, status: number | undefined): Series => {
  const known = knownSeries.get(route)?.get(status)?.get(method)
  if (known !== undefined) return known
  const series = makeSeries(method, route, status === undefined ? "aborted" : String(status))
  const ofRoute = knownSeries.get(route) ?? new Map<number | undefined, Map<string, Series>>()
  knownSeries.set(route, ofRoute)
  const ofStatus = ofRoute.get(status) ?? new Map<string, Series>()
  ofRoute.set(status, ofStatus.set(method, series))
  return series
}

/**
 * Counts a request and its time. Requests without a route share one label. `status` is `undefined` if the client
 * disconnected before the response began.
 */
export const observeRequest = (
  method: string,
  route: { readonly path: string } | undefined,
  status: number | undefined,
  seconds: number
) => {
  const { counted, timed } = findSeries(method, route?.path, status)
  requests.unsafeUpdate(1, counted)
  durations.unsafeUpdate(seconds, timed)
}

/** Counts a request that was answered before it was routed, which takes no time. An empty method stands for any. */
export const countRefusal = (method: string, status: number) =>
  requests.unsafeUpdate(1, findSeries(method, undefined, status).counted)
