import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { Conflict, NotFound, type PreconditionFailed, type StoreUnavailable } from "../../domain/Errors.js"
import type { Vm } from "../../domain/Vm.js"
import type { VmRun } from "../../domain/VmRun.js"
import { beginStop, endRun, given, type Precondition } from "../../domain/VmTransition.js"
import type { StopOptions } from "../VmLifecycle.js"
import type { VmmProcess } from "../vmm/Vmm.js"
import { isSameProcess, ownerOf } from "./Host.js"
import type { LifecycleContext } from "./LifecycleContext.js"
import { stopProcess } from "./StopProcess.js"
import { noteTransition, nowInSeconds, untilStored } from "./StoredTransition.js"
import { reconcileOne } from "./VmAdoption.js"
import { filesOf } from "./VmFolder.js"
import type { SupervisedVm } from "./VmSupervisor.js"

/** Stops a VM whose process another daemon of this host watches. Both store its end; the first one counts. */
const stopElsewhere = (
  { own, scan, store, supervisor, vmm }: LifecycleContext,
  { id, name }: Vm,
  run: VmRun,
  stop: (process: VmmProcess) => Effect.Effect<void>
) =>
  Effect.gen(function* () {
    const files = yield* Effect.mapError(filesOf(own.stateFolder, id), ({ message }) => new Conflict({ message }))
    const found = yield* scan.findNow(id)
    if (found !== undefined && run.process !== undefined && isSameProcess(found.process, run.process)) {
      yield* Effect.acquireUseRelease(vmm.attach(found, files), stop, ({ detach }) => detach)
    }
    const ended = yield* untilStored(store.transition(id, endRun(run.run_id, "stopped", yield* nowInSeconds)))
    yield* noteTransition(ended, "stopped on request")
    supervisor.changed(id)
    return ended.after.vm
  }).pipe(Effect.catchTag("NotFound", () => NotFound.vm(name)))

const stopHere = (vm: SupervisedVm, name: string, stop: (process: VmmProcess) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    vm.annotations = yield* FiberRef.get(FiberRef.currentLogAnnotations)
    yield* stop(vm.process)
    const ended = yield* Deferred.await(vm.ended)
    return ended ?? (yield* NotFound.vm(name))
  })

/**
 * Stops a VM, and returns its record once it is stored as stopped. Its run is `stopping` before the guest is asked. A second
 * stop asks no more; its own timeout holds as well.
 */
export const stopVm = (
  context: LifecycleContext,
  nameOrId: string,
  { force, timeout = context.settings.stopTimeout }: StopOptions,
  precondition: Precondition
): Effect.Effect<Vm, NotFound | Conflict | PreconditionFailed | StoreUnavailable> =>
  Effect.gen(function* () {
    const { host, store, supervisor } = context
    const { run, vm } = yield* reconcileOne(context, nameOrId, { isRunOnly: true })
    if (run !== undefined && run.host === host.name && ownerOf(run, host) === "hidden") {
      return yield* new Conflict({
        message:
          `VM '${vm.name}' runs in another pid namespace (a container) of this host: ask the nexusd there, ` +
          "or stop it with host_lost if that one will not come back"
      })
    }
    const { after } = yield* store.transition(vm.id, given(precondition, beginStop(host.name)))
    if (after.run === undefined) return yield* Conflict.notRunning(vm.name)
    const supervised = supervisor.find(vm.id)
    const isHere = supervised?.runId === after.run.run_id
    const isAsked = isHere && supervised.isAsked
    if (isHere) supervised.isAsked = true
    const stop = (process: VmmProcess) => (force ? process.kill : stopProcess(process, timeout, isAsked))
    return yield* isHere ? stopHere(supervised, vm.name, stop) : stopElsewhere(context, after.vm, after.run, stop)
  })
