import * as Http from "node:http"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { isDeepStrictEqual } from "node:util"
import { expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { ConnectionLost, sendRequest } from "../support/HttpJson.js"
import { withDatabase } from "../support/Sqlite.js"
import { listVms } from "../support/VmCalls.js"
import { report, trials } from "./Report.js"

const kills = trials(1_000, 8)
const clients = 16

/** What the list after a restart must show of a name: the record, nothing, or either of them. */
type Expected =
  | { readonly kind: "kept"; readonly vm: Vm | undefined }
  | { readonly kind: "gone" }
  | { readonly kind: "either"; readonly vm: Vm | undefined }

/** What was asked for and acknowledged over all rounds. */
const counts = { creates: 0, deletes: 0, inFlight: 0 }

/** A name stays here until a restart has shown that it is gone. */
const expected = new Map<string, Expected>()
let serial = 0

/**
 * Makes one request; `undefined` if the connection was lost before an answer. `text` is missing where the daemon died
 * between the head and the end of its answer.
 */
const send = async (daemon: Daemon, agent: Http.Agent, method: string, path: string, content?: object) => {
  try {
    return await sendRequest(daemon, method, path, { agent, content })
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error
    return error.status === undefined ? undefined : { status: error.status, text: undefined }
  }
}

const create = async (daemon: Daemon, agent: Http.Agent, name: string): Promise<boolean> => {
  expected.set(name, { kind: "either", vm: undefined })
  const answer = await send(daemon, agent, "POST", "/v1/vms", { name })
  if (answer === undefined) return false
  if (answer.status !== 201) throw new Error(`creating ${name} was answered with ${answer.status}: ${answer.text}`)
  counts.creates++
  expected.set(name, { kind: "kept", vm: answer.text === undefined ? undefined : JSON.parse(answer.text) })
  return answer.text !== undefined
}

const remove = async (daemon: Daemon, agent: Http.Agent, name: string, vm: Vm | undefined): Promise<boolean> => {
  expected.set(name, { kind: "either", vm })
  const answer = await send(daemon, agent, "DELETE", `/v1/vms/${name}`)
  if (answer === undefined) return false
  if (answer.status !== 204) throw new Error(`deleting ${name} was answered with ${answer.status}: ${answer.text}`)
  counts.deletes++
  expected.set(name, { kind: "gone" })
  return true
}

/** Creates and deletes records of its own without pause until the daemon is gone; it keeps about six of them. */
const client = async (daemon: Daemon, agent: Http.Agent, own: Map<string, Vm | undefined>): Promise<void> => {
  for (;;) {
    const names = Array.from(own.keys())
    const name = names[Math.floor(Math.random() * names.length)]
    if (name !== undefined && Math.random() < names.length / 12) {
      const vm = own.get(name)
      own.delete(name)
      if (!(await remove(daemon, agent, name, vm))) return
    } else {
      const made = `vm-${++serial}`
      if (!(await create(daemon, agent, made))) return
      const now = expected.get(made)
      own.set(made, now?.kind === "kept" ? now.vm : undefined)
    }
  }
}

/** Most kills come while answers do, some before the first one. */
const killMoment = async (): Promise<void> => {
  const isEarly = Math.random() < 0.1
  const { creates, deletes } = counts
  while (!isEarly && counts.creates === creates && counts.deletes === deletes) await sleep(1)
  await sleep(Math.random() * 250)
}

const repeated = (values: ReadonlyArray<unknown>) => values.filter((value, at) => values.indexOf(value) !== at)

/** Compares a restarted daemon's records with what was acknowledged; returns the differences. */
const compare = (list: ReadonlyArray<Vm>): ReadonlyArray<string> => {
  const found = new Map(list.map((vm) => [vm.name, vm]))
  const wrong: Array<string> = []
  for (const [name, now] of expected) {
    const vm = found.get(name)
    const known = now.kind === "gone" ? undefined : now.vm
    if (now.kind === "kept" && vm === undefined) wrong.push(`the acknowledged ${name} is lost`)
    if (now.kind === "gone" && vm !== undefined) wrong.push(`the deleted ${name} is back`)
    if (vm !== undefined && known !== undefined && !isDeepStrictEqual(vm, known)) {
      wrong.push(`${name} was ${JSON.stringify(known)} and is ${JSON.stringify(vm)}`)
    }
  }
  for (const name of found.keys()) if (!expected.has(name)) wrong.push(`${name} came from nowhere`)
  for (const key of ["id", "name", "cid"] as const) {
    for (const value of repeated(list.map((vm) => vm[key]))) wrong.push(`two records have the ${key} ${value}`)
  }
  return wrong
}

it(`nexusd keeps all it acknowledged over ${kills} kills`, { timeout: kills * 3_000 + 10_000 }, async ({
  onTestFinished
}) => {
  const home = makeHome(onTestFinished)
  const path = join(home.path, "state/nexus/nexus.db")
  for (let kill = 1; kill <= kills + 1; kill++) {
    const daemon = await startDaemon(home)
    const list = await listVms(daemon)
    expect(compare(list), `after kill ${kill - 1}`).toEqual([])
    // The daemon has the file open: closing this connection merges no log.
    const integrity = withDatabase(path, (database) => {
      database.exec("PRAGMA query_only = ON")
      return database.prepare("PRAGMA integrity_check").all()
    })
    expect(integrity, `after kill ${kill - 1}`).toEqual([{ integrity_check: "ok" }])
    // What was in flight is settled now, and must stay so.
    expected.clear()
    for (const vm of list) expected.set(vm.name, { kind: "kept", vm })
    if (kill > kills) break

    const agent = new Http.Agent({ keepAlive: true })
    const owned = Array.from({ length: clients }, () => new Map<string, Vm | undefined>())
    list.forEach((vm, at) => {
      owned[at % clients]?.set(vm.name, vm)
    })
    const load = Promise.all(owned.map((own) => client(daemon, agent, own)))
    await Promise.race([load, killMoment()])
    await daemon.stop("SIGKILL")
    await load
    agent.destroy()
    for (const { kind } of expected.values()) if (kind === "either") counts.inFlight++
  }
  // A daemon that answers nothing would lose nothing.
  expect(counts.creates).toBeGreaterThan(0)
  expect(counts.deletes).toBeGreaterThan(0)
  expect(counts.inFlight).toBeGreaterThan(0)
  report({
    promise: "6. acknowledged means kept",
    trials: `${kills} kills (SIGKILL) under ${clients} writing clients`,
    asserted: "after each restart: every acknowledged create and delete holds, CIDs unique, integrity_check ok",
    result: `${counts.creates} creates and ${counts.deletes} deletes acknowledged, ${counts.inFlight} requests in flight, 0 lost`
  })
})
