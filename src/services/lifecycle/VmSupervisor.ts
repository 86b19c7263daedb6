import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as HashMap from "effect/HashMap"
import type * as Scope from "effect/Scope"
import type { Vm } from "../../domain/Vm.js"
import { endRun } from "../../domain/VmTransition.js"
import type { VmStore } from "../VmStore.js"
import type { VmEnd, VmFiles, VmmProcess } from "../vmm/Vmm.js"
import type { LogReader } from "./ConsoleLog.js"
import { noteIfResumed, unwatched, type WatchedLogs, watchLogs } from "./LogWatch.js"
import { makeRegistry } from "./ScopedRegistry.js"
import { noteTransition, nowInSeconds, untilStored } from "./StoredTransition.js"
import { tidy } from "./VmFolder.js"

/** A VM whose process this daemon watches. */
export interface SupervisedVm extends WatchedLogs {
  readonly runId: string
  /** The record once its end is stored; undefined if the record is gone. */
  readonly ended: Deferred.Deferred<Vm | undefined>
  /** Whether this daemon has asked the guest to stop. */
  isAsked: boolean
  /** Log annotations of the request that stops the VM. */
  annotations: HashMap.HashMap<string, unknown>
}

/** Watches VMs until they end, and stores their ends. */
export interface VmSupervisor {
  /** Makes a VM known before its run is stored, so that a stop finds its process. */
  readonly register: (id: string, runId: string, process: VmmProcess, files: VmFiles) => SupervisedVm
  /** Takes a registration back, where the run was not stored. */
  readonly forget: (vm: SupervisedVm) => void
  /** Watches a registered VM in the background until its end is stored. */
  readonly supervise: (vm: SupervisedVm) => Effect.Effect<void>
  /** Resumes a guest that a rotation left paused, in the background: a stopped VMM does not answer. */
  readonly resume: (vm: SupervisedVm) => Effect.Effect<void>
  readonly find: (id: string) => SupervisedVm | undefined
  readonly detachAll: Effect.Effect<void>
  /** Runs at each change of a VM's state that this daemon makes, until the scope closes. */
  readonly onChange: (id: string, listener: () => void) => Effect.Effect<void, never, Scope.Scope>
  readonly changed: (id: string) => void
  /** Tells a reader of rotations and of the end, until the scope closes. */
  readonly addReader: (id: string, reader: LogReader) => Effect.Effect<void, never, Scope.Scope>
}

/** Runs its fibers in `scope`. */
export const makeSupervisor = (
  store: VmStore["Type"],
  databaseId: string,
  logMaxSizeBytes: number,
  scope: Scope.Scope
): Effect.Effect<VmSupervisor> => {
  const vms = new Map<string, SupervisedVm>()
  const readers = makeRegistry<LogReader>()
  const listeners = makeRegistry<() => void>()
  const changed = (id: string) => {
    for (const listener of listeners.of(id)) listener()
  }
  const forget = (vm: SupervisedVm) => {
    if (vms.get(vm.id) === vm) vms.delete(vm.id)
  }

  const storeEnd = (vm: SupervisedVm, { reason, state }: VmEnd) =>
    Effect.gen(function* () {
      for (const reader of readers.of(vm.id)) reader.finish()
      yield* tidy(vm.files, databaseId)
      const now = yield* nowInSeconds
      const transition = yield* untilStored(store.transition(vm.id, endRun(vm.runId, state, now))).pipe(
        Effect.catchAll(() =>
          Effect.as(Effect.logWarning(`VM ${vm.id} ended (${reason}), and has no record`), undefined)
        )
      )
      forget(vm)
      if (transition !== undefined) {
        yield* Effect.annotateLogs(noteTransition(transition, reason), Object.fromEntries(vm.annotations))
      }
      yield* Deferred.succeed(vm.ended, transition?.after.vm)
      changed(vm.id)
    })

  const inBackground = (effect: Effect.Effect<unknown>) =>
    // Starts are uninterruptible where they call this.
    Effect.interruptible(effect).pipe(
      // The request that started the VM has nothing to do with its end.
      Effect.locally(FiberRef.currentLogAnnotations, HashMap.empty<string, unknown>()),
      Effect.forkIn(scope),
      Effect.asVoid
    )

  const supervisor: VmSupervisor = {
    register: (id, runId, process, files) => {
      const vm: SupervisedVm = {
        ...{ id, runId, process, files },
        ...unwatched,
        ended: Deferred.unsafeMake(FiberId.none),
        isAsked: false,
        annotations: HashMap.empty()
      }
      vms.set(id, vm)
      return vm
    },
    forget,
    supervise: (vm) => inBackground(Effect.flatMap(vm.process.ended, (end) => storeEnd(vm, end))),
    resume: (vm) =>
      Effect.suspend(() => {
        // A guest that is resumed while its log is copied would lose lines.
        vm.isRotating = true
        return inBackground(
          Effect.ensuring(
            Effect.zipRight(vm.process.resume, noteIfResumed(vm)),
            Effect.sync(() => {
              vm.isRotating = false
            })
          )
        )
      }),
    find: (id) => vms.get(id),
    detachAll: Effect.suspend(() => Effect.forEach(vms.values(), ({ process }) => process.detach, { discard: true })),
    onChange: listeners.add,
    changed,
    addReader: readers.add
  }
  const onRotated = (id: string) => {
    for (const reader of readers.of(id)) reader.noticeRotation()
  }
  return Effect.as(
    inBackground(watchLogs({ running: () => vms.values(), logMaxSizeBytes, onRotated, scope })),
    supervisor
  )
}
