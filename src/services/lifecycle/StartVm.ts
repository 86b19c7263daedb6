import { randomUUID } from "node:crypto"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import {
  Conflict,
  type NotFound,
  type PreconditionFailed,
  StartFailed,
  type StoreUnavailable,
  type VmmUnavailable
} from "../../domain/Errors.js"
import type { Vm } from "../../domain/Vm.js"
import type { VmChange, VmRun, VmWithRun } from "../../domain/VmRun.js"
import { abandonStart, claimStart, confirmStart, given, type Precondition } from "../../domain/VmTransition.js"
import type { VmFiles, VmmProcess } from "../vmm/Vmm.js"
import { supervisorOf } from "./Host.js"
import type { LifecycleContext } from "./LifecycleContext.js"
import { countFailedStart, countStart } from "./LifecycleMetrics.js"
import { recoverRotation } from "./LogRotation.js"
import { planStart, type StartPlan } from "./StartPlan.js"
import { noteTransition, untilStored } from "./StoredTransition.js"
import { reconcileOne, startedOf } from "./VmAdoption.js"
import { prepare } from "./VmFolder.js"

type Failures = NotFound | Conflict | PreconditionFailed | StartFailed | VmmUnavailable | StoreUnavailable

/** The record changed after its start was planned. */
class PlanOutdated extends Data.TaggedError("PlanOutdated") {}

const planned = ["name", "cid", "vcpu_count", "mem_size_mib", "config_json"] as const

type Restore = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** Claims the record that the plan was made from, and no other. */
const claimPlanned =
  (vm: Vm, claim: VmRun) =>
  (
    current: VmWithRun,
    others: ReadonlyArray<VmWithRun>
  ): Either.Either<VmChange | undefined, Conflict | PlanOutdated> =>
    planned.every((field) => current.vm[field] === vm[field])
      ? claimStart(claim)(current, others)
      : Either.left(new PlanOutdated())

/** How many VMMs start side by side: more make each one wait longer, and all of them no shorter. */
const startsAtOnce = 8

/** Makes the function that starts a VM and returns its record once the guest runs. */
export const makeStartVm = (
  context: LifecycleContext
): Effect.Effect<(nameOrId: string, precondition: Precondition) => Effect.Effect<Vm, Failures>> =>
  Effect.map(Effect.makeSemaphore(startsAtOnce), (semaphore) => {
    const { databaseId, host, own, settings, store, supervisor, vmm } = context

    const newClaim = ({ drives }: StartPlan): Effect.Effect<VmRun, VmmUnavailable> =>
      Effect.map(vmm.available, (available) => ({
        run_id: randomUUID(),
        phase: "starting",
        vmm: available,
        ...supervisorOf(host),
        drives
      }))

    const abandon = (vm: Vm, { run_id }: VmRun, state?: "failed") =>
      store.transition(vm.id, abandonStart(run_id, state))

    const launch = ({ spec }: StartPlan) =>
      Effect.gen(function* () {
        const logs = yield* prepare(own.stateFolder, spec.files, databaseId)
        yield* recoverRotation(spec.files.consoleLog)
        return yield* vmm.start({ ...spec, ...logs })
      }).pipe(
        Effect.scoped,
        Effect.mapError((error) => {
          if (error._tag === "FileRefused") return Conflict.cannotStart(spec.name, error.message)
          return error._tag === "StartFailed"
            ? new StartFailed({ message: `cannot start VM '${spec.name}': ${error.message}` })
            : error
        }),
        semaphore.withPermits(1)
      )

    /** Ends the claim of a start that failed, or that nexusd's end interrupts. */
    const giveUp = (vm: Vm, claim: VmRun, cause: Cause.Cause<Failures>, restore: Restore) => {
      const failure = Option.getOrUndefined(Cause.failureOption(cause))
      const state = failure?._tag === "StartFailed" || Cause.isDie(cause) ? "failed" : undefined
      const stored = abandon(vm, claim, state)
      if (state === "failed") countFailedStart()
      return (Cause.isInterrupted(cause) ? stored : restore(untilStored(stored))).pipe(
        Effect.flatMap((transition) => noteTransition(transition, failure?.message ?? "a defect")),
        Effect.ignore,
        Effect.zipRight(Effect.sync(() => supervisor.changed(vm.id)))
      )
    }

    /** Stores that the guest runs. The outcome is known before its process is touched. */
    const confirm = (vm: Vm, claim: VmRun, files: VmFiles, process: VmmProcess, restore: Restore) =>
      Effect.gen(function* () {
        const supervised = supervisor.register(vm.id, claim.run_id, process, files)
        const forget = Effect.sync(() => supervisor.forget(supervised))
        const started = yield* startedOf(context, process, files)
        const confirmed = yield* restore(
          untilStored(store.transition(vm.id, confirmStart(claim.run_id, started)))
        ).pipe(
          Effect.catchTag("NotFound", () => Effect.succeed(undefined)),
          // The next nexusd finds the process.
          Effect.onInterrupt(() => Effect.zipRight(forget, process.detach))
        )
        if (confirmed?.after.run?.run_id !== claim.run_id) {
          yield* Effect.zipRight(forget, process.kill)
          return yield* Conflict.cannotStart(vm.name, "its run was given up by another nexusd")
        }
        yield* supervisor.supervise(supervised)
        yield* noteTransition(confirmed, `${process.vmm} process ${process.process.pid}`)
        supervisor.changed(vm.id)
        return confirmed.after.vm
      })

    /** Claims a VM and runs it. A claim is ended here, in any case. */
    const claimAndRun = (vm: Vm, claim: VmRun, plan: StartPlan, precondition: Precondition) =>
      Effect.uninterruptibleMask((restore) => {
        const claimedAt = performance.now()
        return store.transition(vm.id, given(precondition, claimPlanned(vm, claim)), { drives: claim.drives }).pipe(
          // The claim may have been stored.
          Effect.tapErrorTag("StoreUnavailable", () =>
            Effect.forkIn(Effect.ignore(Effect.interruptible(untilStored(abandon(vm, claim)))), context.scope)
          ),
          Effect.zipRight(Effect.tapErrorCause(restore(launch(plan)), (cause) => giveUp(vm, claim, cause, restore))),
          Effect.flatMap((process) => confirm(vm, claim, plan.spec.files, process, restore)),
          Effect.tap(() => countStart((performance.now() - claimedAt) / 1000))
        )
      })

    const attempt = (nameOrId: string, precondition: Precondition): Effect.Effect<Vm, Failures | PlanOutdated> =>
      Effect.gen(function* () {
        const current = yield* reconcileOne(context, nameOrId)
        const { vm } = current
        const claimable = claimStart({
          ...{ run_id: "", phase: "starting", vmm: "firecracker", drives: [] },
          ...supervisorOf(host)
        })
        // A VM that runs says so, whatever its files.
        yield* given(precondition, claimable)(current, [])
        const plan = yield* Effect.mapError(planStart(vm, settings, own), ({ message }) =>
          Conflict.cannotStart(vm.name, message)
        )
        const claim = yield* newClaim(plan)
        return yield* claimAndRun(vm, claim, plan, precondition)
      })

    return (nameOrId, precondition) =>
      Effect.retry(attempt(nameOrId, precondition), { while: ({ _tag }) => _tag === "PlanOutdated" }).pipe(
        Effect.catchTag("PlanOutdated", (error) => Effect.die(error))
      )
  })
