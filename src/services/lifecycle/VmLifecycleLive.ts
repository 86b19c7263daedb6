import { lstatSync } from "node:fs"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { NotFound, type StoreUnavailable, WaitTimeout } from "../../domain/Errors.js"
import { given, loseHost, noPrecondition } from "../../domain/VmTransition.js"
import { VmLifecycle } from "../VmLifecycle.js"
import type { VmSettings } from "../VmSettings.js"
import { VmStore } from "../VmStore.js"
import { Vmm } from "../vmm/Vmm.js"
import { type Host, thisHost } from "./Host.js"
import type { OwnFiles } from "./ImageFiles.js"
import type { LifecycleContext } from "./LifecycleContext.js"
import { makeProcessScan } from "./ProcessScan.js"
import { makeStartVm } from "./StartVm.js"
import { stopVm } from "./StopVm.js"
import { noteTransition, nowInSeconds } from "./StoredTransition.js"
import { reconcileAll, reconcileGone, reconcileOne } from "./VmAdoption.js"
import * as VmFolder from "./VmFolder.js"
import { logsOf } from "./VmLogs.js"
import { makeSupervisor } from "./VmSupervisor.js"

/** How long starts and stops that are under way have when nexusd stops. */
const shutdownGrace = Duration.seconds(10)

/** Between two looks for runs of daemons that are gone. */
const takeoverInterval = { ifExpected: Duration.seconds(3), else: Duration.seconds(30) }

/** Between two looks at a record that another daemon may change. */
const maxWaitPoll = Duration.millis(500)

/** Removes the folders of this database that have neither a record nor a process. */
const sweepFolders = ({ databaseId, own, scan, store }: LifecycleContext) =>
  Effect.gen(function* () {
    const folders = yield* VmFolder.foldersIn(own.stateFolder)
    const running = yield* scan.all
    for (const id of folders.filter((id) => !running.has(id))) {
      yield* store.getWithRun(id).pipe(
        Effect.catchTag("NotFound", () => removeFolder(own.stateFolder, id, databaseId)),
        Effect.ignoreLogged
      )
    }
  })

const removeFolder = (stateFolder: string, id: string, databaseId: string) =>
  Effect.ignoreLogged(Effect.flatMap(VmFolder.filesOf(stateFolder, id), (files) => VmFolder.remove(files, databaseId)))

const make = (settings: VmSettings, own: OwnFiles, host: Host) =>
  Effect.gen(function* () {
    const store = yield* VmStore
    const vmm = yield* Vmm
    const databaseId = yield* store.databaseId
    const scope = yield* Scope.make()
    const operations = yield* Scope.extend(FiberSet.make<unknown, unknown>(), scope)
    const supervisor = yield* makeSupervisor(store, databaseId, settings.logMaxSizeBytes, scope)
    yield* Effect.addFinalizer(() =>
      FiberSet.awaitEmpty(operations).pipe(
        Effect.timeoutOption(shutdownGrace),
        // Finalizers are uninterruptible, and so would be the timeout.
        Effect.interruptible,
        Effect.zipRight(supervisor.detachAll),
        Effect.zipRight(Scope.close(scope, Exit.void))
      )
    )
    const scan = makeProcessScan(vmm)
    const context: LifecycleContext = { store, vmm, scan, settings, host, own, databaseId, supervisor, scope }

    const lookAgain = (isExpected: boolean): Effect.Effect<never> =>
      reconcileGone(context).pipe(
        Effect.orElseSucceed(() => true),
        Effect.delay(isExpected ? takeoverInterval.ifExpected : takeoverInterval.else),
        Effect.flatMap(lookAgain)
      )
    const isExpected = yield* reconcileAll(context)
    yield* Effect.forkIn(Effect.interruptible(lookAgain(isExpected)), scope)
    yield* Effect.forkIn(Effect.interruptible(sweepFolders(context)), scope)

    /** Runs to its end, whatever its caller does. */
    const detached = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.flatMap(FiberSet.run(operations, Effect.interruptible(effect)), Fiber.join)

    const startVm = yield* makeStartVm(context)

    const hasFolder = (nameOrId: string) =>
      Effect.map(store.get(nameOrId), ({ id }) =>
        Either.match(VmFolder.filesOf(own.stateFolder, id), {
          onLeft: () => false,
          onRight: ({ folder }) => lstatSync(folder, { throwIfNoEntry: false }) !== undefined
        })
      )

    return VmLifecycle.of({
      start: (nameOrId, precondition = noPrecondition) => detached(startVm(nameOrId, precondition)),
      stop: (nameOrId, options, precondition = noPrecondition) =>
        detached(stopVm(context, nameOrId, options, precondition)),
      loseHost: (nameOrId, precondition = noPrecondition) =>
        Effect.gen(function* () {
          const decide = given(precondition, loseHost(host, yield* nowInSeconds))
          const transition = yield* store.transition(nameOrId, decide)
          yield* noteTransition(transition, `host ${transition.before.run?.host} was given up`)
          supervisor.changed(transition.after.vm.id)
          return transition.after.vm
        }).pipe(detached),
      delete: (nameOrId, precondition) =>
        Effect.gen(function* () {
          // A process without a run, of a record that was restored or reset.
          if (yield* hasFolder(nameOrId)) yield* reconcileOne(context, nameOrId)
          const { id } = yield* store.delete(nameOrId, precondition)
          supervisor.changed(id)
          yield* removeFolder(own.stateFolder, id, databaseId)
        }).pipe(detached),
      logs: (nameOrId, options) => logsOf(context, nameOrId, options),
      wait: (nameOrId, { states, timeout }) =>
        Effect.gen(function* () {
          let { id, name, state } = yield* store.get(nameOrId)
          const change = yield* Effect.makeLatch()
          yield* supervisor.onChange(id, () => change.unsafeOpen())
          const reached = Effect.gen(function* () {
            change.unsafeClose()
            const vm = yield* store.get(id)
            state = vm.state
            return states.includes(state) ? vm : undefined
          })
          return yield* reached.pipe(
            Effect.tap((vm) => (vm === undefined ? Effect.timeoutOption(change.await, maxWaitPoll) : Effect.void)),
            Effect.repeat({ until: (vm) => vm !== undefined }),
            Effect.timeoutFail({
              duration: timeout,
              onTimeout: () =>
                new WaitTimeout({
                  message: `VM '${name}' is ${state}, and was not ${states.join(" or ")} within ${Duration.format(timeout)}`
                })
            }),
            Effect.flatMap((vm) => (vm === undefined ? NotFound.vm(nameOrId) : Effect.succeed(vm))),
            Effect.catchTag("NotFound", () => NotFound.vm(nameOrId))
          )
        }).pipe(Effect.scoped)
    })
  })

/** VMs as processes of this host. Adopts those that run before anything else can use it. */
export const layer = (
  settings: VmSettings,
  own: OwnFiles,
  host: Host = thisHost(settings.host)
): Layer.Layer<VmLifecycle, StoreUnavailable, VmStore | Vmm> => Layer.scoped(VmLifecycle, make(settings, own, host))
