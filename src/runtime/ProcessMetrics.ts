import { readdirSync, readFileSync } from "node:fs"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { getHeapStatistics } from "node:v8"
import type { MetricFamily } from "./MetricFamily.js"

const family = (name: string, type: "counter" | "gauge", help: string, value: number | undefined) =>
  value === undefined ? [] : [{ name, type, help, values: [{ labels: {}, value }] }]

/** What proc_pid_fd(5) and proc_pid_limits(5) say, where there is a /proc. */
const descriptors = () => {
  try {
    const [, max] = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? []
    return { open: readdirSync("/proc/self/fd").length, max: max === undefined ? undefined : Number(max) }
  } catch {
    return { open: undefined, max: undefined }
  }
}

/** Between two looks at the event loop: each wakes an idle process. */
const resolutionMillis = 20

/** Figures of this process, by the names that Prometheus' clients give them; lag is measured between two calls. */
export const makeProcessMetrics = (): (() => ReadonlyArray<MetricFamily>) => {
  const delay = monitorEventLoopDelay({ resolution: resolutionMillis })
  delay.enable()
  /** The delay is that of a timer, and holds its interval. Nanoseconds. */
  const lagSeconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - resolutionMillis / 1000)
  return () => {
    const { system, user } = process.cpuUsage()
    const { max, open } = descriptors()
    const lags = { p50: delay.percentile(50), p99: delay.percentile(99), max: delay.max }
    delay.reset()
    return [
      ...family("process_cpu_seconds_total", "counter", "CPU time, of user and system", (user + system) / 1e6),
      ...family(
        "process_start_time_seconds",
        "gauge",
        "Start, in seconds since the epoch",
        performance.timeOrigin / 1000
      ),
      ...family("process_resident_memory_bytes", "gauge", "Resident memory", process.memoryUsage.rss()),
      ...family("process_open_fds", "gauge", "Open file descriptors", open),
      ...family("process_max_fds", "gauge", "Maximum number of open file descriptors", max),
      ...family("nodejs_heap_size_used_bytes", "gauge", "Used part of V8's heap", getHeapStatistics().used_heap_size),
      ...Object.entries(lags).flatMap(([which, lag]) =>
        family(
          `nodejs_eventloop_lag_${which}_seconds`,
          "gauge",
          `Lag of the event loop since the last scrape (${which})`,
          lagSeconds(lag)
        )
      )
    ]
  }
}
