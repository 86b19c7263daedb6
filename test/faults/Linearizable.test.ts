import * as Http from "node:http"
import { describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { sendRequest } from "../support/HttpJson.js"
import { isLinearizable, type Operation, type Sighting, sharedCids, violations } from "./Linearizability.js"
import { report, trials } from "./Report.js"

const histories = trials(100, 3)
const clients = 10
const operationsEach = trials(200, 30)

const sighting = ({ cid, id, name }: Vm): Sighting => ({ id, name, cid })

const kinds: ReadonlyArray<readonly [share: number, kind: Operation["kind"]]> = [
  [0.2, "create"],
  [0.35, "replace"],
  [0.55, "update"],
  [0.75, "delete"],
  [1, "get"]
]
const methods = { create: "POST", replace: "PUT", update: "PATCH", delete: "DELETE", get: "GET" } as const

/** What a request with a precondition sends, and the version that it requires. */
interface Condition {
  readonly headers: Http.OutgoingHttpHeaders
  readonly requires?: number | "none"
}

/** The entity tags that were seen, by the version's value. */
class Versions {
  private readonly tags = new Map<string, { readonly value: number; readonly tag: string }>()
  private readonly all = new Map<string, string>()

  see({ id, mem_size_mib: value, name }: Vm, tag: string | undefined) {
    const known = this.all.get(`${id} ${value}`) ?? tag
    expect(tag).toBe(known)
    expect(tag).toMatch(/^"[^"]+"$/)
    this.all.set(`${id} ${value}`, tag ?? "")
    this.tags.set(name, { value, tag: tag ?? "" })
  }

  /** Half of the changes require the version that was seen last, and some of the replacements that there is none. */
  condition(kind: Operation["kind"], name: string): Condition {
    const dice = Math.random()
    const last = this.tags.get(name)
    if (kind === "create" || kind === "get" || dice < 0.4) return { headers: {} }
    if (kind === "replace" && dice < 0.6) return { headers: { "if-none-match": "*" }, requires: "none" }
    return last === undefined ? { headers: {} } : { headers: { "if-match": last.tag }, requires: last.value }
  }
}

/** A daemon that can be restarted while it is used. */
const makeService = async (first: Daemon, restart: () => Promise<Daemon>) => {
  let current = Promise.resolve(first)
  return {
    current: () => current,
    restart: async (signal: NodeJS.Signals) => {
      const old = await current
      const ended = old.stop(signal)
      current = ended.then(restart)
      await current
    }
  }
}

describe("the checker", () => {
  const record = (id: string, cid = 3): Sighting => ({ id, name: "a", cid })
  /**
   * `12 update 200 x 5 4`: called at 1, returned at 2, answered with record x, whose value it set to 5, and which it
   * required to have value 4. No status means no answer, a return or record `-` one that is not known.
   */
  const parse = (text: string): Operation => {
    const [times = "", kind, status = "-", id = "-", value = "-", requires = "-"] = text.split(" ")
    return {
      kind: kinds.find(([, known]) => known === kind)?.[1] ?? "get",
      name: "a",
      called: Number(times[0]),
      returned: times[1] === "-" ? Number.POSITIVE_INFINITY : Number(times[1]),
      ...(status !== "-" && { status: Number(status) }),
      ...(id !== "-" && { record: record(id) }),
      ...(value !== "-" && { value: Number(value) }),
      ...(requires !== "-" && { requires: requires === "none" ? requires : Number(requires) })
    }
  }
  const check = (...history: ReadonlyArray<string>) => isLinearizable(history.map(parse))

  it.each([
    ["one after the other", ["12 create 201 x", "34 get 200 x", "56 delete 204", "78 get 404", "89 create 201 y"]],
    ["a read during the creation", ["14 create 201 x", "23 get 404"]],
    ["a read that came first", ["25 create 201 x", "16 get 200 x"]],
    ["two creations at once", ["13 create 201 x", "24 create 409"]],
    ["two deletions at once", ["12 create 201 x", "36 delete 404", "45 delete 204"]],
    ["an unanswered creation that was done", ["1- create", "23 get 404", "45 get 200 x", "67 get 200 x"]],
    ["an unanswered creation that was not", ["12 create", "34 get 404", "56 create 201 x"]],
    ["an unanswered deletion that was done", ["12 create 201 x", "35 delete", "67 get 404"]],
    ["an unanswered deletion that was not", ["12 create 201 x", "35 delete", "67 get 200 x"]],
    ["an unheard creation that was done late", ["1- create", "23 create 201 x", "45 delete 204", "67 get 200 y"]],
    ["an unheard deletion that was done late", ["12 create 201 x", "3- delete", "45 get 200 x", "67 get 404"]],
    ["an update", ["12 create 201 x 1", "34 update 200 x 2", "56 get 200 x 2", "78 replace 200 x 3"]],
    ["a read during an update", ["12 create 201 x 1", "36 update 200 x 2", "45 get 200 x 1", "78 get 200 x 2"]],
    ["two updates of one version", ["12 create 201 x 1", "36 update 200 x 2 1", "45 update 412 - 3 1"]],
    ["two replacements at once", ["13 replace 201 x 1", "24 replace 200 x 2", "56 get 200 x 2"]],
    ["two replacements that require nothing", ["13 replace 412 - 1 none", "24 replace 201 x 2 none"]],
    ["a replacement of a version that is gone", ["12 create 201 x 1", "34 delete 204", "56 replace 412 - 2 1"]],
    ["a deletion of one version", ["12 create 201 x 1", "34 delete 412 - - 2", "56 delete 204 - - 1", "78 get 404"]],
    ["an update of nothing", ["12 update 404 - 2 1"]],
    ["an unanswered update that was done", ["12 create 201 x 1", "35 update - - 2", "67 get 200 x 2"]],
    ["an unanswered update that was not", ["12 create 201 x 1", "35 update - - 2 7", "67 get 200 x 1"]],
    ["an unanswered replacement that created", ["1- replace - - 1", "23 get 404", "45 get 200 x 1", "67 get 200 x 1"]],
    ["an unanswered replacement that changed", ["12 create 201 x 1", "3- replace - - 2", "45 get 200 x 2"]],
    [
      "a call that was not taken on",
      ["12 create 503", "34 get 404", "56 create 201 x", "78 delete 503", "89 get 200 x"]
    ]
  ])("accepts %s", (_, history) => {
    expect(check(...history)).toBe(true)
  })

  it.each([
    ["a lost update", ["12 create 201 x 1", "34 update 200 x 2", "56 get 200 x 1"]],
    ["a lost replacement", ["12 create 201 x 1", "34 replace 200 x 2", "56 get 200 x 1"]],
    ["two updates of one version", ["12 create 201 x 1", "36 update 200 x 2 1", "45 update 200 x 3 1"]],
    ["an update that goes back", ["12 create 201 x 1", "38 update 200 x 2", "45 get 200 x 2", "67 get 200 x 1"]],
    ["a mix of two updates", ["12 create 201 x 1", "34 update 200 x 2", "56 get 200 x 3"]],
    ["a second creation by replacement", ["13 replace 201 x 1", "24 replace 201 y 2"]],
    ["a replacement of nothing", ["12 replace 200 x 1"]],
    ["a replacement of what may not be", ["12 create 201 x 1", "34 replace 200 x 2 none"]],
    ["a replacement that finds nothing", ["12 replace 404 - 1"]],
    ["a creation in place of a version", ["12 replace 201 x 2 1"]],
    ["a refusal of the present version", ["12 create 201 x 1", "34 update 412 - 2 1"]],
    ["a refusal without a condition", ["12 create 201 x 1", "34 delete 412"]],
    ["a deletion of another version", ["12 create 201 x 1", "34 delete 204 - - 2"]],
    ["a conditional update that was refused and done", ["12 create 201 x 1", "35 update - - 2 7", "67 get 200 x 2"]],
    [
      "an unanswered update done after its daemon's end",
      ["12 create 201 x 1", "34 update - - 2", "56 get 200 x 1", "78 get 200 x 2"]
    ],
    ["a stale read", ["12 create 201 x", "34 delete 204", "56 get 200 x"]],
    ["a lost creation", ["12 create 201 x", "34 get 404"]],
    ["a double creation", ["13 create 201 x", "24 create 201 y"]],
    ["a deletion seen twice", ["12 create 201 x", "36 delete 204", "45 delete 204"]],
    ["a record changed in place", ["12 create 201 x", "34 get 200 x", "56 get 200 y"]],
    ["a read that goes back", ["18 create 201 x", "23 get 200 x", "45 get 404"]],
    ["a conflict with nothing", ["12 create 409"]],
    ["an unanswered creation with two ids", ["1- create", "23 get 200 x", "45 get 200 y"]],
    ["an unanswered creation done after its daemon's end", ["12 create", "34 get 404", "56 get 200 x"]],
    ["a deletion that comes back", ["12 create 201 x", "34 delete", "56 get 404", "78 get 200 x"]],
    ["an unheard deletion done before it was called", ["12 create 201 x", "34 get 404", "5- delete"]],
    ["an unheard deletion done twice", ["12 create 201 x", "3- delete", "45 get 404", "67 create 201 y", "89 get 404"]],
    ["a refused call that was done", ["12 create 503", "34 get 200 x"]],
    ["an answer that does not exist", ["12 create 201 x", "34 get 500"]]
  ])("rejects %s", (_, history) => {
    expect(check(...history)).toBe(false)
  })

  it("finds a CID that two records share, not one that is used again", () => {
    const get = (called: number, id: string, cid: number): Operation => ({
      kind: "get",
      name: id,
      called,
      returned: called + 1,
      status: 200,
      record: { ...record(id, cid), name: id }
    })
    expect(sharedCids([get(1, "x", 3), get(3, "y", 4), get(5, "x", 3), get(7, "y", 4)])).toEqual([])
    expect(sharedCids([get(1, "x", 3), get(3, "x", 3), get(5, "y", 3), get(7, "y", 3)])).toEqual([])
    expect(sharedCids([get(1, "x", 3), get(3, "y", 3), get(5, "x", 3), get(7, "y", 3)])).toEqual([
      "x and y share CID 3"
    ])
    expect(sharedCids([get(1, "x", 3), get(3, "x", 4)])).toHaveLength(1)
  })
})

describe("the service", () => {
  it(`is linearizable for ${clients} clients, in ${histories} histories with two restarts each`, {
    timeout: histories * 30_000
  }, async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const service = await makeService(await startDaemon(home), () => startDaemon(home))
    const counts = { answered: 0, unanswered: 0 }
    const statuses = new Set<string>()
    const versions = new Versions()
    const agent = new Http.Agent({ keepAlive: true })
    // Every event has a time of its own, in the order in which this process saw them.
    let clock = 0

    /** The operations of one history, on six names of its own. */
    const record = async (at: number): Promise<ReadonlyArray<Operation>> => {
      const names = ["a", "b", "c", "d", "e", "f"].map((letter) => `h${at}-${letter}`)
      const history: Array<Operation> = []
      let sent = 0

      const operate = async (): Promise<void> => {
        const daemon = await service.current()
        sent++
        const name = names[Math.floor(Math.random() * names.length)] ?? ""
        const dice = Math.random()
        const kind = kinds.find(([share]) => dice < share)?.[1] ?? "get"
        const isList = dice > 0.95
        const path = isList || kind === "create" ? "/v1/vms" : `/v1/vms/${name}`
        const { headers, ...required } = versions.condition(kind, name)
        const value = 1000 + sent
        const isWrite = kind !== "get" && kind !== "delete"
        const content = isWrite ? { ...(kind === "create" && { name }), mem_size_mib: value } : undefined
        const called = ++clock
        const operation = { kind, name, called, ...required, ...(isWrite && { value }) }
        const answer = await sendRequest(daemon, methods[kind], path, { agent, headers, content }).catch(
          () => undefined
        )
        if (answer === undefined) {
          // Whatever becomes of the request, it is done once that daemon has ended.
          await daemon.ended
          counts.unanswered++
          if (kind !== "get") history.push({ ...operation, returned: ++clock })
          return
        }
        const returned = ++clock
        const { status } = answer
        const body: unknown = answer.text === "" ? undefined : JSON.parse(answer.text)
        counts.answered++
        statuses.add(`${kind} ${status}`)
        if (!isList) {
          const vm = status === 200 || status === 201 ? (body as Vm) : undefined
          if (vm === undefined) return void history.push({ ...operation, returned, status })
          versions.see(vm, answer.headers.etag)
          if (isWrite) expect(vm.mem_size_mib).toBe(value)
          history.push({ ...operation, returned, status, record: sighting(vm), value: vm.mem_size_mib })
          return
        }
        expect(status).toBe(200)
        const list = body as ReadonlyArray<Vm>
        for (const key of ["id", "name", "cid"] as const)
          expect(new Set(list.map((vm) => vm[key])).size).toBe(list.length)
        for (const each of names) {
          const vm = list.find((one) => one.name === each)
          const seen =
            vm === undefined ? { status: 404 } : { status: 200, record: sighting(vm), value: vm.mem_size_mib }
          history.push({ kind: "get", name: each, called, returned, ...seen })
        }
      }
      const client = async () => {
        for (let done = 0; done < operationsEach; done++) await operate()
      }
      /** Restarts the daemon once so many requests were sent. */
      const restartAt = async (share: number, signal: NodeJS.Signals) => {
        while (sent < clients * operationsEach * share) await new Promise((resolve) => setTimeout(resolve, 1))
        await service.restart(signal)
      }
      const restarts = async () => {
        await restartAt(0.2 + Math.random() * 0.2, "SIGTERM")
        await restartAt(0.6 + Math.random() * 0.2, "SIGKILL")
      }
      await Promise.all([restarts(), ...Array.from({ length: clients }, client)])
      return history
    }

    for (let at = 1; at <= histories; at++) {
      const history = await record(at)
      const bad = violations(history)
      const shown = history.filter(({ name }) => bad.includes(name)).map((one) => JSON.stringify(one))
      expect(bad, `history ${at}:\n${shown.join("\n")}`).toEqual([])
      expect(sharedCids(history), `history ${at}`).toEqual([])
    }
    expect(Array.from(statuses)).toEqual(
      expect.arrayContaining([
        ...["create 201", "create 409", "get 200", "get 404", "delete 204", "delete 404", "delete 412"],
        ...["update 200", "update 404", "update 412", "replace 200", "replace 201", "replace 412"]
      ])
    )
    report({
      promise: "6. linearizable answers",
      trials: `${histories} histories of ${clients} clients x ${operationsEach} operations on 6 names, 2 restarts each`,
      asserted:
        "each is linearizable, with updates and preconditions; no two records that were there at once share a CID",
      result: `${counts.answered} answers, ${counts.unanswered} requests without one, 0 violations`
    })
  })
})
