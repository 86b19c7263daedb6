import { setTimeout as sleep } from "node:timers/promises"
import { describe, expect, it, vi } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { hasPgBouncer, needsPgBouncer, PgBouncer } from "../support/PgBouncer.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { listVms } from "../support/VmCalls.js"
import {
  change,
  counts,
  makeFollower,
  operationsEach,
  pick,
  resetCounts,
  type Service,
  sorted,
  write
} from "./EventsFollower.js"
import { report, trials } from "./Report.js"

const daemonCount = 3
const writers = 10

/** A daemon that is restarted while it is used. */
const restartable = async (start: Service["current"]) => {
  let current = start()
  await current
  return {
    current: () => current,
    restart: async (signal: NodeJS.Signals) => {
      counts.restarts++
      const old = await current
      const ended = old.stop(signal)
      current = ended.then(start)
      await current
    }
  }
}

/** How the daemons reach the server: by itself, or through a pooler, with or without a way past it. */
type Route = "direct" | "pooled" | "pooled, listening past the pooler"

const followThroughFaults = async (route: Route, runs: number, onTestFinished: AtEnd) => {
  resetCounts()
  const server = await Server.create(onTestFinished)
  const database = await server.database()
  const url = route === "direct" ? server.url(database) : (await PgBouncer.create(onTestFinished, server)).url(database)
  const listen = route === "pooled, listening past the pooler" ? server.url(database) : undefined
  const services = await Promise.all(
    Array.from({ length: daemonCount }, () => {
      const home = makeHome(onTestFinished)
      return restartable(() =>
        startDaemon(home, { args: ["--db", url], env: { NEXUS_DATABASE_LISTEN_URL: listen, NEXUS_VM_HOST: home.path } })
      )
    })
  )
  const [first] = services
  if (first === undefined) throw new Error("there are three")
  const anyService: Service = { current: () => pick(services).current() }
  const followers = services.map(makeFollower)

  for (let run = 1; run <= runs; run++) {
    const faults = async () => {
      for (let fault = 0; fault < 5; fault++) {
        await sleep(Math.random() * 300)
        const dice = Math.random()
        if (dice < 0.4) await pick(services).restart(pick(["SIGKILL", "SIGKILL", "SIGTERM"]))
        else if (dice < 0.6) pick(followers).disconnect()
        else {
          // Among them are those that listen, and those with a change in progress.
          await server.query(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = $1 ORDER BY random() LIMIT 3) AS chosen",
            { values: [database] }
          )
        }
      }
    }
    await Promise.all([faults(), ...Array.from({ length: writers }, (_, own) => write(anyService, own, run))])
    await vi.waitFor(async () => change(anyService, "PUT", `/v1/vms/end-${run}`, {}))
    const agree = async () => {
      // What a killed daemon had sent may be carried out for a while.
      const list = sorted(await listVms(await first.current()))
      for (const follower of followers) expect(sorted(follower.records()), `run ${run}`).toEqual(list)
    }
    await vi.waitFor(agree, { timeout: 20_000, interval: 50 })
  }
  for (const follower of followers) await follower.stop()
  for (const { current } of services) expect((await (await current()).stop()).code).toBe(0)
  report({
    promise: "17. events agree with lists",
    trials: `PostgreSQL, ${route}: ${runs} runs of ${writers} writers x ${operationsEach} operations on ${daemonCount} daemons, with ${counts.restarts} restarts (SIGKILL or SIGTERM), ${counts.disconnects} lost streams, and ended connections to the server`,
    asserted: "clients that list once and then follow events of a daemon have the records of a list at the end",
    result: `${counts.changes} changes, ${counts.unanswered} without an answer; ${counts.events} events, ${counts.resumed} streams resumed, ${counts.gone} Gone, ${counts.resets} resets; 0 differences`
  })
}

const timeout = (runs: number) => runs * 40_000 + 60_000

describe.skipIf(!hasPostgres)(`events of several daemons on PostgreSQL${needsPostgres}`, () => {
  const runs = trials(100, 1)
  it("agree with lists", { timeout: timeout(runs) }, ({ onTestFinished }) =>
    followThroughFaults("direct", runs, onTestFinished)
  )
})

describe.skipIf(!hasPgBouncer)(`events of several daemons on PostgreSQL through PgBouncer${needsPgBouncer}`, () => {
  const runs = trials(20, 1)
  it.for(["pooled", "pooled, listening past the pooler"] as const)(
    "agree with lists (%s)",
    { timeout: timeout(runs) },
    (route, { onTestFinished }) => followThroughFaults(route, runs, onTestFinished)
  )
})
