import * as Metric from "effect/Metric"
import * as MetricLabel from "effect/MetricLabel"
import type { VmEvent } from "../domain/VmEvent.js"

const events = Metric.counter("nexus_events_total", {
  description: "Events that were published, from the first subscriber on",
  incremental: true
})

const subscribers = Metric.gauge("nexus_event_subscribers", { description: "Subscribers to events" }).register()

const lagging = Metric.counter("nexus_event_subscribers_lagging_total", {
  description: "Subscribers that were disconnected, since they were too far behind",
  incremental: true
}).register()

const labelsOf = (event: string) => [MetricLabel.make("event", event)]
const labels: Readonly<Record<VmEvent["event"], ReadonlyArray<MetricLabel.MetricLabel>>> = {
  created: labelsOf("created"),
  updated: labelsOf("updated"),
  deleted: labelsOf("deleted"),
  reset: labelsOf("reset"),
  ready: labelsOf("ready")
}

// A rate needs a first value.
for (const event of ["created", "updated", "deleted", "reset"] as const) events.unsafeUpdate(0, labels[event])

export const countEvent = (event: VmEvent["event"]) => events.unsafeUpdate(1, labels[event])
export const changeSubscribers = (change: 1 | -1) => subscribers.unsafeModify(change, [])
export const countLagging = () => lagging.unsafeUpdate(1, [])
