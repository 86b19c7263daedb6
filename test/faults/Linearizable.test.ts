import { describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { tryCall } from "../support/HttpJson.js"
import { isLinearizable, type Operation, type Sighting, sharedCids, violations } from "./Linearizability.js"
import { report, trials } from "./Report.js"

const histories = trials(100, 3)
const clients = 10
const operationsEach = trials(200, 30)

const sighting = ({ cid, id, name }: Vm): Sighting => ({ id, name, cid })

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
  /** `12 create 201 x`: called at 1, returned at 2; no status means no answer, and `-` a return that is not known. */
  const parse = (text: string): Operation => {
    const [times = "", kind = "", status, id] = text.split(" ")
    return {
      kind: kind === "create" || kind === "delete" ? kind : "get",
      name: "a",
      called: Number(times[0]),
      returned: times[1] === "-" ? Number.POSITIVE_INFINITY : Number(times[1]),
      ...(status !== undefined && { status: Number(status) }),
      ...(id !== undefined && { record: record(id) })
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
    [
      "a call that was not taken on",
      ["12 create 503", "34 get 404", "56 create 201 x", "78 delete 503", "89 get 200 x"]
    ]
  ])("accepts %s", (_, history) => {
    expect(check(...history)).toBe(true)
  })

  it.each([
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
        const kind = dice < 0.35 ? "create" : dice < 0.65 ? "delete" : "get"
        const isList = dice > 0.95
        const path = isList || kind === "create" ? "/v1/vms" : `/v1/vms/${name}`
        const called = ++clock
        const method = { create: "POST", get: "GET", delete: "DELETE" }[kind]
        const answer = await tryCall(daemon, method, path, kind === "create" ? { name } : undefined)
        if (answer === undefined) {
          // Whatever becomes of the request, it is done once that daemon has ended.
          await daemon.ended
          counts.unanswered++
          if (kind !== "get") history.push({ kind, name, called, returned: ++clock })
          return
        }
        const returned = ++clock
        const { body, status } = answer
        counts.answered++
        statuses.add(`${kind} ${status}`)
        if (!isList) {
          const vm = status === 200 || status === 201 ? sighting(body as Vm) : undefined
          history.push({ kind, name, called, returned, status, ...(vm && { record: vm }) })
          return
        }
        expect(status).toBe(200)
        const list = body as ReadonlyArray<Vm>
        for (const key of ["id", "name", "cid"] as const)
          expect(new Set(list.map((vm) => vm[key])).size).toBe(list.length)
        for (const each of names) {
          const vm = list.find((one) => one.name === each)
          const seen = vm === undefined ? { status: 404 } : { status: 200, record: sighting(vm) }
          history.push({ kind, name: each, called, returned, ...seen })
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
      expect.arrayContaining(["create 201", "create 409", "get 200", "get 404", "delete 204", "delete 404"])
    )
    report({
      promise: "6. linearizable answers",
      trials: `${histories} histories of ${clients} clients x ${operationsEach} operations on 6 names, 2 restarts each`,
      asserted: "each is linearizable; no two records that were there at once share a CID",
      result: `${counts.answered} answers, ${counts.unanswered} requests without one, 0 violations`
    })
  })
})
