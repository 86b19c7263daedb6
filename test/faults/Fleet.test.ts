import { setTimeout as sleep } from "node:timers/promises"
import { isDeepStrictEqual } from "node:util"
import { describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { tryCall } from "../support/HttpJson.js"
import { hasPgBouncer, needsPgBouncer, PgBouncer } from "../support/PgBouncer.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { listVms } from "../support/VmCalls.js"
import { type Operation, type Sighting, sharedCids, violations } from "./Linearizability.js"
import { report, trials } from "./Report.js"

const daemonCount = 4
const clients = 64
/** How many creates and deletes are sent. */
const writes = trials(20_000, 1_000)
/** How many names all clients fight for, and after how many writes others take their place: histories stay short. */
const contended = { names: 4, writes: 200 }

const sighting = ({ cid, id, name }: Vm): Sighting => ({ id, name, cid })
const pick = <A>(all: ReadonlyArray<A>): A | undefined => all[Math.floor(Math.random() * all.length)]

type Kind = Exclude<Operation["kind"], "update" | "replace">
const methods = { create: "POST", get: "GET", delete: "DELETE" } as const
const rightAnswers: Readonly<Record<Kind, ReadonlyArray<number>>> = {
  create: [201, 409],
  get: [200, 404],
  delete: [204, 404]
}

/** The requests of many clients to several daemons, and the answers. */
class Load {
  readonly history: Array<Operation> = []
  /** Answers that no order of events could make right. */
  readonly wrong: Array<unknown> = []
  /** Answers on names that only one client uses: created and kept, or deleted. */
  readonly kept = new Map<string, Vm>()
  readonly gone = new Set<string>()
  readonly counts = { created: 0, deleted: 0, answered: 0, unanswered: 0, unavailable: 0 }
  sent = 0
  /** Every event has a time of its own, in the order in which this process saw them. */
  private clock = 0
  private readonly records = new Map<string, Vm>()

  constructor(private readonly daemons: Set<Daemon>) {}

  /** A record is the same wherever it is seen. */
  private see(vm: Vm) {
    const first = this.records.get(vm.id)
    if (first === undefined) this.records.set(vm.id, vm)
    else if (!isDeepStrictEqual(first, vm)) this.wrong.push({ first, later: vm })
  }

  /** Makes one request of one daemon. Returns `undefined` if the outcome is unknown. */
  private async operate(daemon: Daemon, kind: Kind, name: string) {
    if (kind !== "get") this.sent++
    const called = ++this.clock
    const path = kind === "create" ? "/v1/vms" : `/v1/vms/${name}`
    const answer = await tryCall(daemon, methods[kind], path, kind === "create" ? { name } : undefined)
    const returned = ++this.clock
    // The database may carry out what a daemon asked of it, however long that has been dead.
    const unknown = { kind, name, called, returned: Number.POSITIVE_INFINITY }
    if (answer === undefined) {
      this.counts.unanswered++
      this.history.push(unknown)
      return undefined
    }
    const { body, status } = answer
    this.counts.answered++
    if (status === 503) {
      this.counts.unavailable++
      const isKnown = !JSON.stringify(body).includes("may have been made")
      this.history.push(isKnown ? { kind, name, called, returned, status } : unknown)
      return undefined
    }
    const vm = status === 200 || status === 201 ? (body as Vm) : undefined
    if (!rightAnswers[kind].includes(status) || (vm && vm.name !== name)) this.wrong.push({ kind, name, status, body })
    if (vm !== undefined) this.see(vm)
    if (status === 201) this.counts.created++
    if (status === 204) this.counts.deleted++
    this.history.push({ kind, name, called, returned, status, ...(vm && { record: sighting(vm) }) })
    return { status, vm }
  }

  /** A list shows what there is of each of these names, and no name and no number twice. */
  async list(daemon: Daemon, names: Iterable<string>) {
    const called = ++this.clock
    const answer = await tryCall(daemon, "GET", "/v1/vms")
    const returned = ++this.clock
    if (answer === undefined || answer.status === 503) return
    const all = answer.body as ReadonlyArray<Vm>
    for (const key of ["id", "name", "cid"] as const) {
      const found = new Set(all.map((vm) => vm[key])).size
      if (found !== all.length) this.wrong.push(`a list of ${all.length} records has ${found} values of ${key}`)
    }
    const byName = new Map(all.map((vm) => [vm.name, vm]))
    for (const vm of all) this.see(vm)
    for (const name of names) {
      const vm = byName.get(name)
      const seen = vm === undefined ? { status: 404 } : { status: 200, record: sighting(vm) }
      this.history.push({ kind: "get", name, called, returned, ...seen })
    }
  }

  /** One request for a name that others ask for at the same time, through other daemons. */
  private async contend(daemon: Daemon) {
    const round = Math.floor(this.sent / contended.writes)
    const names = Array.from({ length: contended.names }, (_, at) => `shared-${round}-${at}`)
    const dice = Math.random()
    if (dice < 0.02) return this.list(daemon, names)
    const kind = dice < 0.35 ? "create" : dice < 0.65 ? "delete" : "get"
    await this.operate(daemon, kind, pick(names) ?? "")
  }

  /** One request for a record that no one else asks for: its answer is known beforehand. */
  private async tend(daemon: Daemon, mine: Array<string>, fresh: string) {
    const expected = { create: 201, get: 200, delete: 204 } as const
    const dice = Math.random()
    const name = pick(mine)
    const kind = name === undefined || dice < 0.45 ? "create" : dice < 0.65 ? "get" : "delete"
    const asked = kind === "create" ? fresh : (name ?? "")
    if (kind === "delete") {
      mine.splice(mine.indexOf(asked), 1)
      this.kept.delete(asked)
    }
    const answer = await this.operate(daemon, kind, asked)
    if (answer === undefined) return
    if (answer.status !== expected[kind]) this.wrong.push({ kind, own: asked, status: answer.status })
    if (kind === "delete") this.gone.add(asked)
    if (kind === "create" && answer.vm !== undefined) {
      mine.push(asked)
      this.kept.set(asked, answer.vm)
    }
  }

  /** Stays with one daemon, as long as that lives, until enough was written. */
  async client(id: number) {
    const mine: Array<string> = []
    let daemon: Daemon | undefined
    for (let serial = 0; this.sent < writes; serial++) {
      if (daemon === undefined || !this.daemons.has(daemon)) daemon = pick(Array.from(this.daemons))
      if (daemon === undefined) throw new Error("no daemon is left")
      if (Math.random() < 0.5) await this.contend(daemon)
      else await this.tend(daemon, mine, `own-${id}-${serial}`)
    }
  }

  /** Kills a daemon once that share of the writes was sent; its clients go to the others. */
  async killAt(share: number, daemon: Daemon) {
    while (this.sent < writes * share) await sleep(1)
    daemon.child.kill("SIGKILL")
    this.daemons.delete(daemon)
    await daemon.ended
  }
}

const showOneInventory = async (isPooled: boolean, onTestFinished: AtEnd) => {
  const server = await Server.create(onTestFinished)
  const database = await server.database()
  const url = isPooled ? (await PgBouncer.create(onTestFinished, server)).url(database) : server.url(database)
  const home = makeHome(onTestFinished)
  const daemons = await Promise.all(
    Array.from({ length: daemonCount }, () => startDaemon(home, { args: ["--db", url] }))
  )
  const [first, second, ...survivors] = daemons
  if (first === undefined || second === undefined) throw new Error("there are four")
  const load = new Load(new Set(daemons))
  const begun = performance.now()
  await Promise.all([
    ...Array.from({ length: clients }, (_, id) => load.client(id)),
    load.killAt(0.3 + Math.random() * 0.1, first),
    load.killAt(0.6 + Math.random() * 0.1, second)
  ])
  const seconds = (performance.now() - begun) / 1000

  // What there is in the end, as each daemon that is left has it, belongs to the history of every name.
  const names = new Set(load.history.map(({ name }) => name))
  for (const daemon of survivors) await load.list(daemon, names)
  const bad = violations(load.history)
  const shown = load.history.filter(({ name }) => bad.slice(0, 3).includes(name)).map((one) => JSON.stringify(one))
  expect({ wrong: load.wrong.slice(0, 10), bad }, shown.join("\n")).toEqual({ wrong: [], bad: [] })
  expect(sharedCids(load.history)).toEqual([])

  const [survivor] = survivors
  if (survivor === undefined) throw new Error("two are left")
  const found = new Map((await listVms(survivor)).map((vm) => [vm.name, vm]))
  for (const [name, vm] of load.kept) expect(found.get(name)).toEqual(vm)
  for (const name of load.gone) expect(found.has(name), `the deleted ${name} is back`).toBe(false)
  const [row] = await server.query(
    "SELECT count(*)::int AS all, count(DISTINCT cid)::int AS cids, count(DISTINCT name)::int AS names FROM vms",
    { database }
  )
  expect(row).toEqual({ all: found.size, cids: found.size, names: found.size })

  // No lock of the killed daemons is left, and only their connections were lost.
  expect(load.counts.unanswered).toBeGreaterThan(0)
  for (const daemon of survivors) {
    expect(daemon.log().filter((line) => !/listening| took |pooler/.test(line))).toEqual([])
    expect((await daemon.stop()).code).toBe(0)
  }
  const { answered, created, deleted, unanswered, unavailable } = load.counts
  report({
    promise: "10. one inventory",
    trials: `${daemonCount} daemons on PostgreSQL${isPooled ? " through PgBouncer" : ""}, ${clients} clients, ${load.sent} creates and deletes, 2 daemons killed (SIGKILL) on the way`,
    asserted:
      "CIDs and names unique, acknowledged creates there as answered, acknowledged deletes gone, every name's history linearizable",
    result:
      `${created} creates and ${deleted} deletes acknowledged, ${answered} answers on ${names.size} names in ` +
      `${Math.round(seconds)} s, ${unanswered} without an answer, ${unavailable} answered 503, 0 violations`
  })
}

const title = `shows ${clients} clients one inventory through ${daemonCount} daemons while two are killed`
const timeout = trials(600_000, 60_000)

describe.skipIf(!hasPostgres)(`a fleet on PostgreSQL${needsPostgres}`, () => {
  it(title, { timeout }, ({ onTestFinished }) => showOneInventory(false, onTestFinished))
})

describe.skipIf(!hasPgBouncer)(`a fleet on PostgreSQL through PgBouncer${needsPgBouncer}`, () => {
  it(title, { timeout }, ({ onTestFinished }) => showOneInventory(true, onTestFinished))
})
