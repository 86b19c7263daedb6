import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import type { Vm } from "../../domain/Vm.js"

// Registered at once, since a rate needs a first value.
const counter = (name: string, description: string) =>
  Metric.counter(name, { description, incremental: true }).register()

const started = counter("nexus_vm_starts_total", "VMs that this daemon started")
const startFailures = counter("nexus_vm_start_failures_total", "Starts whose VMM ended or refused before the guest ran")
const stopped = counter("nexus_vm_stops_total", "VMs whose end this daemon recorded as stopped")
const crashed = counter("nexus_vm_crashes_total", "VMs whose end this daemon recorded as crashed")

const startDurations = Metric.histogram(
  "nexus_vm_start_duration_seconds",
  MetricBoundaries.fromIterable([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]),
  "Time from the claim of a start until the guest runs"
).register()

const endCounters: Readonly<Record<string, typeof stopped>> = { stopped, crashed }

/** Counts a VM's end. */
export const countEnd = (state: Vm["state"]) => endCounters[state]?.unsafeUpdate(1, [])

/** Counts a start that succeeded. */
export const countStart = (seconds: number) => {
  started.unsafeUpdate(1, [])
  startDurations.unsafeUpdate(seconds, [])
}

export const countFailedStart = () => startFailures.unsafeUpdate(1, [])
