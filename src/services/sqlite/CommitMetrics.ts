import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

const sizes = Metric.histogram(
  "nexus_commit_changes",
  MetricBoundaries.fromIterable([1, 2, 4, 8, 16, 32, 64, 128, 256]),
  "Changes that share a commit of SQLite; the count is the number of commits"
)

const durations = Metric.histogram(
  "nexus_commit_duration_seconds",
  MetricBoundaries.fromIterable([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]),
  "Time of a transaction of SQLite from its beginning to its commit"
)

// Registered at once, since a rate needs a first value.
const failures = Metric.counter("nexus_commit_failures_total", {
  description: "Transactions of SQLite that failed, those included that are tried again after another process's lock",
  incremental: true
}).register()

/** Counts a commit of that many changes. */
export const observeCommit = (changes: number, millis: number) => {
  sizes.unsafeUpdate(changes, [])
  durations.unsafeUpdate(millis / 1000, [])
}

export const countFailedCommit = () => failures.unsafeUpdate(1, [])
