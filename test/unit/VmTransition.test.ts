import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import type { Conflict } from "../../src/domain/Errors.js"
import type { UpdateVm } from "../../src/domain/Vm.js"
import type { VmChange, VmRun, VmWithRun } from "../../src/domain/VmRun.js"
import * as VmTransition from "../../src/domain/VmTransition.js"
import { changesOf } from "../../src/services/VmChanges.js"
import { columns } from "../../src/services/VmRow.js"
import { record } from "../support/Records.js"
import { claimOf, drive, startedAs } from "../support/Runs.js"

type Decision = Either.Either<VmChange | undefined, Conflict>

const { boolean, constantFrom, integer, oneof, record: recordOf } = FastCheck

/** Two VMs, whose runs have one of three ids, on two hosts, with up to two drives. */
const runId = constantFrom("run-1", "run-2", "run-3")
const host = constantFrom("here", "there")
const drives = FastCheck.uniqueArray(
  recordOf({ path: constantFrom("/a", "/b"), is_writable: boolean() }).map(({ path, ...more }) => drive(path, more)),
  { maxLength: 2, selector: ({ path }) => path }
)
const claimed = recordOf({ run_id: runId, host, drives }).map(({ run_id, ...more }) => claimOf(run_id, more))
const endState = constantFrom<Array<VmTransition.EndState>>("stopped", "crashed")

/** One decision of a VM, with its name. */
interface Step {
  readonly name: string
  readonly vm: "a" | "b"
  readonly decide: (current: VmWithRun, others: ReadonlyArray<VmWithRun>) => Decision
  /** What the decision is about. */
  readonly runId?: string
}

const on = constantFrom<Array<Step["vm"]>>("a", "b")
const update = FastCheck.record(
  {
    name: constantFrom("a", "b", "c"),
    role: constantFrom("work" as const, "portal" as const),
    vcpu_count: integer({ min: 1, max: 3 }),
    mem_size_mib: integer({ min: 1, max: 3 }),
    config_json: constantFrom("{}", null)
  },
  { requiredKeys: [] }
) satisfies FastCheck.Arbitrary<UpdateVm>

const steps: FastCheck.Arbitrary<Step> = oneof(
  recordOf({ vm: on, claimed }).map(({ claimed, vm }) => ({
    name: "claimStart",
    vm,
    decide: VmTransition.claimStart(claimed),
    runId: claimed.run_id
  })),
  recordOf({ vm: on, runId }).map(({ runId, vm }) => ({
    name: "confirmStart",
    vm,
    decide: VmTransition.confirmStart(runId, startedAs()),
    runId
  })),
  recordOf({ vm: on, runId, state: constantFrom(undefined, "failed" as const) }).map(({ runId, state, vm }) => ({
    name: "abandonStart",
    vm,
    decide: VmTransition.abandonStart(runId, state),
    runId
  })),
  recordOf({ vm: on, host }).map(({ host, vm }) => ({ name: "beginStop", vm, decide: VmTransition.beginStop(host) })),
  recordOf({ vm: on, runId, state: endState }).map(({ runId, state, vm }) => ({
    name: "endRun",
    vm,
    decide: VmTransition.endRun(runId, state, 9),
    runId
  })),
  on.map((vm) => ({ name: "endWithoutRun", vm, decide: VmTransition.endWithoutRun(9) })),
  recordOf({ vm: on, host }).map(({ host, vm }) => ({
    name: "loseHost",
    vm,
    decide: VmTransition.loseHost({ name: host, pidNamespace: "pid:[1]" }, 9)
  })),
  recordOf({ vm: on, update }).map(({ update, vm }) => ({ name: "update", vm, decide: VmTransition.update(update) }))
)

type World = Readonly<Record<Step["vm"], VmWithRun>>

const states = ["created", "running", "stopped", "crashed", "failed", "paused by another program"]
const initial: FastCheck.Arbitrary<World> = recordOf({
  a: constantFrom(...states),
  b: constantFrom(...states)
}).map(({ a, b }) => ({
  a: { vm: record("a", { state: a }), run: undefined },
  b: { vm: record("b", { cid: 4, state: b }), run: undefined }
}))

/** Makes the decision as a store does. */
const apply = (world: World, { decide, vm }: Step) => {
  const before = world[vm]
  const others = Object.values(world).filter((other) => other !== before && other.run !== undefined)
  const decision = decide(before, others)
  const after = Either.match(decision, {
    onLeft: () => before,
    onRight: (change) => changesOf(before, change, columns, 7).after
  })
  return { decision, before, after, world: { ...world, [vm]: after } }
}

type Applied = ReturnType<typeof apply>

/** Checks each step of random sequences. */
const always = (check: (applied: Applied, step: Step) => void) =>
  FastCheck.assert(
    FastCheck.property(initial, FastCheck.array(steps, { maxLength: 60, size: "max" }), (start, sequence) => {
      let world = start
      for (const step of sequence) {
        const applied = apply(world, step)
        check(applied, step)
        world = applied.world
      }
    }),
    { numRuns: 500 }
  )

const hasProcess = ({ process }: VmRun) => process !== undefined

describe("VM transitions", () => {
  it("a record comes to say `running` only with a run whose process is known, and shows that process", () =>
    always(({ after, before }) => {
      if (after.vm.state !== "running" || after.run === undefined) return
      expect(after.run.phase).not.toBe("starting")
      expect(hasProcess(after.run)).toBe(true)
      expect(after.vm.pid).toBe(after.run.process?.pid)
      if (before.vm.state !== "running") expect(before.run?.phase).toBe("starting")
    }))

  it("a record that does not say `running` has no process, and no run but one that is starting", () =>
    always(({ after, before }) => {
      if (after.vm.state === "running" || after === before) return
      expect(after.vm).not.toHaveProperty("pid")
      expect(after.vm).not.toHaveProperty("socket_path")
      expect(after.vm).not.toHaveProperty("uds_path")
      expect(after.vm).not.toHaveProperty("vmm")
      expect(after.run?.phase ?? "starting").toBe("starting")
    }))

  it("only a claim makes a run, of a VM that has none and does not run", () =>
    always(({ after, before }, { name }) => {
      if (after.run === undefined || after.run.run_id === before.run?.run_id) return
      expect(name).toBe("claimStart")
      expect(before.run).toBeUndefined()
      expect(["created", "stopped", "crashed", "failed"]).toContain(before.vm.state)
      expect(after.vm).toStrictEqual(before.vm)
    }))

  it("no two runs on one host have a drive that one of them writes", () =>
    always(({ world: { a, b } }) => {
      if (a.run === undefined || b.run === undefined || a.run.host !== b.run.host) return
      for (const one of a.run.drives) {
        for (const other of b.run.drives) {
          if (one.identity === other.identity) expect(one.is_writable || other.is_writable).toBe(false)
        }
      }
    }))

  it("what is said of one run never changes another", () =>
    always(({ after, before }, { name, runId }) => {
      if (name === "claimStart" || runId === undefined || before.run?.run_id === runId) return
      expect(after).toBe(before)
    }))

  it("a decision that is made again changes nothing, so that an end is recorded once", () =>
    always(({ after, decision, world }, step) => {
      if (Either.isLeft(decision)) return
      const again = apply(world, step)
      if (step.name === "claimStart" || step.name === "loseHost") {
        if (decision.right !== undefined) expect(Either.isLeft(again.decision)).toBe(true)
      }
      expect(again.after).toBe(after)
    }))

  it("a VM that is being stopped ends as `stopped`, whatever was seen, and one that was not started as `failed`", () =>
    always(({ after, before, decision }, { name, runId }) => {
      if (name !== "endRun" || before.run?.run_id !== runId || Either.isLeft(decision)) return
      expect(after.run).toBeUndefined()
      expect(after.vm.stopped_at).toBe(9)
      if (before.run?.phase === "stopping") expect(after.vm.state).toBe("stopped")
      else if (before.run?.phase === "starting") expect(after.vm.state).toBe("failed")
      else expect(["stopped", "crashed"]).toContain(after.vm.state)
    }))

  it("a stop is not taken back: a VM that is being stopped ends, or goes on being stopped", () =>
    always(({ after, before }) => {
      if (before.run?.phase === "stopping" && after.run !== undefined) expect(after.run.phase).toBe("stopping")
    }))

  it("a refusal says why", () => {
    const vm = (state: string) => record("web", { state })
    const message = (decision: Decision) => Either.match(decision, { onLeft: (e) => e.message, onRight: () => "" })
    const claim = VmTransition.claimStart(claimOf("run-1"))
    const starting = { vm: vm("created"), run: claimOf("run-2") }
    const running = { vm: vm("running"), run: claimOf("run-2", { phase: "running" }) }
    const idle = { vm: vm("stopped"), run: undefined }
    const here = { name: "here", pidNamespace: "pid:[1]" }
    const elsewhere = { vm: vm("running"), run: claimOf("run-2", { phase: "running", host: "there" }) }
    expect([
      message(claim(starting, [])),
      message(claim(running, [])),
      message(claim({ vm: vm("running"), run: undefined }, [])),
      message(claim({ vm: vm("paused"), run: undefined }, [])),
      message(claim(elsewhere, [])),
      message(VmTransition.beginStop("here")(starting)),
      message(VmTransition.beginStop("here")(idle)),
      message(VmTransition.beginStop("here")(elsewhere)),
      message(VmTransition.loseHost(here, 1)(running)),
      message(VmTransition.loseHost(here, 1)(idle))
    ]).toEqual([
      "VM 'web' is being started",
      "VM 'web' is already running",
      "VM 'web' is already running",
      "cannot start VM 'web': nexusd does not know its state 'paused'",
      "VM 'web' is on host 'there': ask that host's nexusd",
      "VM 'web' is being started",
      "VM 'web' is not running",
      "VM 'web' is on host 'there': ask that host's nexusd",
      "VM 'web' runs on this host, which is not lost: stop it",
      "VM 'web' is not running"
    ])
  })

  it("while a VM is being started only that start and the loss of its host change it", () =>
    always(({ after, before }, { name }) => {
      if (before.run?.phase !== "starting" || after === before) return
      expect(["confirmStart", "abandonStart", "endRun", "loseHost"]).toContain(name)
    }))

  it("while a VM runs its name, sizes and configuration stay, and it can't be deleted", () =>
    always(({ after, before }) => {
      if (before.vm.state !== "running" && before.run === undefined) return
      for (const field of ["name", "vcpu_count", "mem_size_mib", "config_json"] as const) {
        expect(after.vm[field]).toBe(before.vm[field])
      }
      expect(Either.isLeft(VmTransition.assertDeletable(before))).toBe(true)
    }))

  it("a VM that neither runs nor is being started can be deleted", () =>
    always(({ after }) => {
      if (after.vm.state === "running" || after.run !== undefined) return
      expect(Either.isRight(VmTransition.assertDeletable(after))).toBe(true)
    }))

  it("the id, CID and time of creation stay, and updated_at changes with the record alone", () =>
    always(({ after, before }) => {
      const { updated_at: _after, ...vm } = after.vm
      const { updated_at: _before, ...old } = before.vm
      expect([vm.id, vm.cid, vm.created_at]).toEqual([old.id, old.cid, old.created_at])
      // `vmm` is the run's.
      const isSame = JSON.stringify({ ...vm, vmm: 0 }) === JSON.stringify({ ...old, vmm: 0 })
      expect(after.vm.updated_at).toBe(isSame ? before.vm.updated_at : 7)
    }))

  it("an adopted VM runs, or goes on being stopped, and only the run that was seen is taken over", () =>
    always(({ after: current }, { runId }) => {
      for (const expected of [current.run, undefined, claimOf(runId ?? "run-1")]) {
        const decision = VmTransition.adopt(
          expected,
          claimOf(expected?.run_id ?? "run-9"),
          startedAs({ pid: 8 })
        )(current)
        const { after } = apply({ a: current, b: current }, { name: "adopt", vm: "a", decide: () => decision })
        if (expected?.run_id !== current.run?.run_id) {
          expect(after).toBe(current)
          continue
        }
        expect(after.vm).toMatchObject({ state: "running", pid: 8 })
        expect(after.run?.phase).toBe(current.run?.phase === "stopping" ? "stopping" : "running")
        expect(after.run?.process?.pid).toBe(8)
      }
    }))
})
