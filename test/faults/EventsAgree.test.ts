import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { expect, it, vi } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { withDatabase } from "../support/Sqlite.js"
import { listVms } from "../support/VmCalls.js"
import {
  agent,
  change,
  counts,
  makeFollower,
  operationsEach,
  pick,
  type Service,
  sorted,
  write
} from "./EventsFollower.js"
import { report, trials } from "./Report.js"

const runs = trials(100, 2)
const writers = 10

it(`a client that follows events has the records of a list, in ${runs} runs of ${writers} writers`, {
  timeout: runs * 30_000 + 60_000
}, async ({ onTestFinished }) => {
  const home = makeHome(onTestFinished)
  const path = join(home.path, "state/nexus/nexus.db")
  let current = startDaemon(home)
  const service: Service = { current: () => current }
  const restart = async (signal: NodeJS.Signals) => {
    counts.restarts++
    const old = await current
    const ended = old.stop(signal)
    current = ended.then(() => startDaemon(home))
    await current
  }
  /** Changes records without the daemon, which can't name such changes. */
  const changeElsewhere = () =>
    withDatabase(path, (database) => {
      database.exec("PRAGMA busy_timeout = 5000")
      database.exec("UPDATE vms SET role = 'service' WHERE rowid % 3 = 0")
    })
  await current
  const early = makeFollower(service)

  for (let run = 1; run <= runs; run++) {
    const late = makeFollower(service)
    const faults = async () => {
      for (let fault = 0; fault < 5; fault++) {
        await sleep(Math.random() * 150)
        const dice = Math.random()
        if (dice < 0.2) await restart(pick(["SIGKILL", "SIGTERM"]))
        else if (dice < 0.4) changeElsewhere()
        else pick([early, late]).disconnect()
      }
    }
    await Promise.all([faults(), ...Array.from({ length: writers }, (_, own) => write(service, own, run))])
    await change(service, "POST", "/v1/vms", { name: `end-${run}` })
    const expected = sorted(await listVms(await service.current()))
    for (const follower of [early, late]) {
      await follower.until(`end-${run}`)
      // A change by another process is noticed within a second.
      const agree = () => expect(sorted(follower.records()), `run ${run}`).toEqual(expected)
      await vi.waitFor(agree, { timeout: 10_000, interval: 20 })
    }
    await late.stop()
  }
  await early.stop()
  await (await current).stop()
  agent.destroy()

  for (const [what, count] of Object.entries(counts)) {
    if (runs > 20) expect(count, what).toBeGreaterThan(0)
  }
  report({
    promise: "17. events agree with lists",
    trials: `${runs} runs of ${writers} writers x ${operationsEach} operations, with ${counts.restarts} restarts (SIGKILL or SIGTERM), ${counts.disconnects} lost connections, and changes by another process`,
    asserted:
      "a client that lists once and then follows events has the records of a list at the end; no event comes twice",
    result: `${counts.changes} changes, ${counts.unanswered} without an answer; ${counts.events} events, ${counts.resumed} streams resumed, ${counts.gone} Gone, ${counts.resets} resets; 0 differences`
  })
})
