import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { projectFolder } from "../support/Programs.js"
import { checkMetrics, needsPromtool } from "../support/Prometheus.js"
import { type Series, scrape, valueOf } from "../support/PrometheusText.js"
import { createVm } from "../support/VmCalls.js"
import { killVmms, vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"

const residentBytes = (pid = 0) =>
  1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])

const vmsIn = (series: ReadonlyArray<Series>) =>
  series
    .filter(({ name, value }) => name === "nexus_vms" && value > 0)
    .map(({ labels: { role, state }, value }) => `${role} ${state} ${value}`)
    .sort()

const vmConfig = (boot_args: string) => ({
  config_json: JSON.stringify({ "boot-source": { kernel_image_path: guestKernel, boot_args } })
})

describe("metrics of a daemon", () => {
  it("are those that docs/monitoring.md lists, each with its labels", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    // Series of requests appear with the first answer.
    await scrape(daemon)
    const { series, text } = await scrape(daemon)
    const families = Array.from(text.matchAll(/^# TYPE (\w+) (\w+)$/gm), ([, name, type]) => ({ name, type }))
    const exposed = families.map(({ name = "", type = "" }) => {
      const own = series.filter((one) => one.name === name || one.name.startsWith(`${name}_`))
      const labels = new Set(own.flatMap(({ labels }) => Object.keys(labels)).filter((label) => label !== "le"))
      return `${name} ${type} ${Array.from(labels).sort().join(" ")}`
    })
    const words = (cell = "") => Array.from(cell.matchAll(/`(\w+)`/g), ([, word]) => word)
    const documented = readFileSync(join(projectFolder, "docs/monitoring.md"), "utf8")
      .split("\n")
      .filter((line) => /^\| `(?:nexus|process|nodejs)_/.test(line))
      .flatMap((line) => {
        const [, names, type = "", labels] = line.split("|")
        return words(names).map((name) => `${name} ${type.trim()} ${words(labels).sort().join(" ")}`)
      })
    expect(exposed.sort()).toEqual(documented.sort())
  })

  it.skipIf(needsPromtool !== "")(
    `pass promtool's check, before and after use${needsPromtool}`,
    async ({ onTestFinished }) => {
      const daemon = await startDaemon(makeHome(onTestFinished))
      expect(checkMetrics((await scrape(daemon)).text)).toEqual({ status: 0, output: "" })
      await createVm(daemon, "web")
      await call(daemon, "GET", "/v1/vms/ghost")
      await call(daemon, "GET", "/nowhere")
      expect(checkMetrics((await scrape(daemon)).text)).toEqual({ status: 0, output: "" })
      // The check finds what is wrong.
      expect(checkMetrics("# TYPE a_total gauge\na_total 1\n")).not.toMatchObject({ status: 0 })
    }
  )

  it("count commits and their changes, and tell the process's figures and the database's size", async ({
    onTestFinished
  }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home)
    const before = (await scrape(daemon)).series
    await Promise.all(Array.from({ length: 50 }, (_, index) => createVm(daemon, `vm-${index}`)))
    const { contentType, series } = await scrape(daemon)
    expect(contentType).toBe("text/plain; version=0.0.4; charset=utf-8")
    const difference = (name: string) => (valueOf(series, name) ?? 0) - (valueOf(before, name) ?? 0)
    expect(difference("nexus_commit_changes_sum")).toBe(50)
    const commits = difference("nexus_commit_changes_count")
    expect(commits).toBeGreaterThan(0)
    expect(commits).toBeLessThanOrEqual(50)
    expect(difference("nexus_commit_duration_seconds_count")).toBe(commits)
    expect(difference("nexus_commit_duration_seconds_sum")).toBeGreaterThan(0)
    expect(vmsIn(series)).toEqual(["work created 50"])
    expect(valueOf(series, "nexus_database_size_bytes")).toBeGreaterThanOrEqual(
      statSync(join(home.path, "state/nexus/nexus.db")).size
    )
    for (const name of ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"]) {
      expect(valueOf(series, name), name).toBeGreaterThan(0)
    }
    for (const name of ["process_max_fds", "process_start_time_seconds", "nodejs_heap_size_used_bytes"]) {
      expect(valueOf(series, name), name).toBeGreaterThan(0)
    }
    expect(valueOf(series, "process_resident_memory_bytes")).toBeLessThan(2 * residentBytes(daemon.child.pid))
    for (const which of ["p50", "p99", "max"]) {
      expect(valueOf(series, `nodejs_eventloop_lag_${which}_seconds`), which).toBeGreaterThanOrEqual(0)
    }
  })

  it("count events and their subscribers", async ({ onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    const follower = new AbortController()
    const { body } = await fetch(`${daemon.url}/v1/events`, { signal: follower.signal })
    const reader = body?.getReader()
    await reader?.read()
    await createVm(daemon, "web")
    await createVm(daemon, "db")
    await call(daemon, "DELETE", "/v1/vms/web")
    const { series } = await scrape(daemon)
    expect(valueOf(series, "nexus_event_subscribers")).toBe(1)
    expect(valueOf(series, "nexus_events_total", { event: "created" })).toBe(2)
    expect(valueOf(series, "nexus_events_total", { event: "deleted" })).toBe(1)
    expect(valueOf(series, "nexus_http_requests_in_flight", { kind: "long_lived" })).toBe(1)
    follower.abort()
    const left = async () => valueOf((await scrape(daemon)).series, "nexus_event_subscribers")
    await expect.poll(left, { timeout: 60_000 }).toBe(0)
  })

  it.skipIf(!hasPostgres)(
    `are those of PostgreSQL, and say when it is down; so does /readyz${needsPostgres}`,
    async ({ onTestFinished }) => {
      const server = await Server.create(onTestFinished)
      const daemon = await startDaemon(makeHome(onTestFinished), {
        env: { NEXUS_DATABASE_URL: server.url(await server.database()) }
      })
      await createVm(daemon, "web", { role: "portal" })
      const { series, text } = await scrape(daemon)
      expect(vmsIn(series)).toEqual(["portal created 1"])
      expect(valueOf(series, "nexus_database_size_bytes")).toBeGreaterThan(1024 * 1024)
      if (needsPromtool === "") expect(checkMetrics(text)).toEqual({ status: 0, output: "" })
      expect(await call(daemon, "GET", "/readyz")).toEqual({ status: 200, body: { status: "ok" } })

      await server.stop("immediate")
      await expect.poll(() => call(daemon, "GET", "/readyz"), { timeout: 60_000 }).toMatchObject({ status: 503 })
      expect(await call(daemon, "GET", "/livez")).toEqual({ status: 200, body: { status: "ok" } })
      const down = (await scrape(daemon)).series
      expect(valueOf(down, "nexus_database_up")).toBe(0)
      expect(vmsIn(down)).toEqual([])

      await server.start()
      await expect.poll(() => call(daemon, "GET", "/readyz"), { timeout: 60_000 }).toMatchObject({ status: 200 })
      expect(vmsIn((await scrape(daemon)).series)).toEqual(["portal created 1"])
    }
  )

  for (const { env, isUsable, name } of testVmms) {
    it.skipIf(!isUsable)(`count starts, failed starts, stops and crashes under ${name}`, async ({ onTestFinished }) => {
      const home = makeHome(onTestFinished)
      onTestFinished(() => killVmms(home))
      const daemon = await startDaemon(home, { env })
      const post = (path: string, body?: object) => call(daemon, "POST", `/v1/vms/${path}`, body)
      await createVm(daemon, "web", vmConfig("guest=deaf"))
      const noKernel = home.write("no-kernel", "this is no kernel")
      await createVm(daemon, "bad", {
        config_json: JSON.stringify({ "boot-source": { kernel_image_path: noKernel } })
      })
      expect(await post("web/start")).toMatchObject({ status: 200 })
      expect(await post("web/stop", { force: true })).toMatchObject({ status: 200 })
      expect(await post("web/start")).toMatchObject({ status: 200 })
      for (let attempt = 0; attempt < 2; attempt++) expect(await post("bad/start")).toMatchObject({ status: 500 })
      expect(vmsIn((await scrape(daemon)).series)).toEqual(["work failed 1", "work running 1"])
      for (const { pid } of vmmProcesses(home)) process.kill(pid, "SIGKILL")
      expect(await call(daemon, "GET", "/v1/vms/web/wait?state=crashed")).toMatchObject({ status: 200 })

      const { series } = await scrape(daemon)
      expect(vmsIn(series)).toEqual(["work crashed 1", "work failed 1"])
      expect(valueOf(series, "nexus_vm_starts_total")).toBe(2)
      expect(valueOf(series, "nexus_vm_start_duration_seconds_count")).toBe(2)
      expect(valueOf(series, "nexus_vm_start_failures_total")).toBe(2)
      expect(valueOf(series, "nexus_vm_stops_total")).toBe(1)
      expect(valueOf(series, "nexus_vm_crashes_total")).toBe(1)
    })
  }
})
