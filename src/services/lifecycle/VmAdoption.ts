import { randomUUID } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Conflict, NotFound, StoreUnavailable } from "../../domain/Errors.js"
import type { Vm } from "../../domain/Vm.js"
import type { VmRun, VmWithRun } from "../../domain/VmRun.js"
import { adopt, endRun, endWithoutRun, type Started } from "../../domain/VmTransition.js"
import type { FoundProcess, VmEnd, VmFiles } from "../vmm/Vmm.js"
import { ownerOf, supervisorOf } from "./Host.js"
import type { LifecycleContext } from "./LifecycleContext.js"
import { isPausedByRotation, recoverRotation } from "./LogRotation.js"
import type { ProcessesById } from "./ProcessScan.js"
import { drivesOf } from "./StartPlan.js"
import { stopProcess } from "./StopProcess.js"
import { noteTransition, nowInSeconds } from "./StoredTransition.js"
import { filesOf, isFolderOf, isFolderOfAnother } from "./VmFolder.js"

type Failures = Conflict | NotFound | StoreUnavailable

/** What a record shows of a process. The paths are made from the id, and never read from the record. */
export const startedOf = (
  { host }: LifecycleContext,
  { process, vmm }: Pick<FoundProcess, "process" | "vmm">,
  files: VmFiles
): Effect.Effect<Started> =>
  Effect.map(nowInSeconds, (started_at) => ({
    process,
    socket_path: files.apiSocket,
    uds_path: vmm === "firecracker" ? files.vsockSocket : undefined,
    console_log_path: files.consoleLog,
    started_at,
    host: host.name
  }))

/** The run of a process that has none of this boot: its record was restored or reset. */
const newRun = ({ host, own }: LifecycleContext, vm: Vm, { process, vmm }: FoundProcess): Effect.Effect<VmRun> =>
  Effect.map(drivesOf(vm, own), (drives) => ({
    run_id: randomUUID(),
    phase: "running",
    vmm,
    ...supervisorOf(host),
    process,
    drives
  }))

/** Stores the end of a VM that nobody watched. */
const storeEnd = ({ store, supervisor }: LifecycleContext, { run, vm }: VmWithRun, { reason, state }: VmEnd) =>
  Effect.gen(function* () {
    const now = yield* nowInSeconds
    const decide = run === undefined ? endWithoutRun(now) : endRun(run.run_id, state, now)
    yield* noteTransition(yield* store.transition(vm.id, decide), reason)
    supervisor.changed(vm.id)
  })

const unfinished: VmEnd = { state: "crashed", reason: "nexusd ended before the guest ran" }

/** Takes over a process whose daemon is gone, and watches it. */
const adoptProcess = (context: LifecycleContext, { run, vm }: VmWithRun, found: FoundProcess, files: VmFiles) =>
  Effect.gen(function* () {
    const { host, scope, settings, store, supervisor, vmm } = context
    const process = yield* vmm.attach(found, files)
    if (run?.phase === "starting" && (yield* process.guestState) === "not started") {
      yield* process.kill
      return yield* storeEnd(context, { run, vm }, unfinished)
    }
    yield* Effect.ignoreLogged(recoverRotation(files.consoleLog))
    const adopted =
      run?.boot_id === host.bootId ? { ...run, vmm: found.vmm, daemon: host.daemon } : yield* newRun(context, vm, found)
    const started = yield* startedOf(context, found, files)
    const supervised = supervisor.register(vm.id, adopted.run_id, process, files)
    const undo = Effect.zipRight(
      Effect.sync(() => supervisor.forget(supervised)),
      process.detach
    )
    const transition = yield* Effect.onError(store.transition(vm.id, adopt(run, adopted, started)), () => undo)
    if (transition.after.run?.run_id !== adopted.run_id) return yield* undo
    if (isPausedByRotation(files)) yield* supervisor.resume(supervised)
    yield* supervisor.supervise(supervised)
    yield* noteTransition(transition, `found running as process ${found.process.pid}`)
    supervisor.changed(vm.id)
    if (transition.after.run.phase === "stopping") {
      supervised.isAsked = true
      yield* Effect.forkIn(Effect.interruptible(stopProcess(process, settings.stopTimeout)), scope)
    }
  }).pipe(Effect.uninterruptible)

/** How a VM ended that nobody watched. */
const findEnd = ({ host, vmm }: LifecycleContext, run: VmRun | undefined, files: VmFiles | undefined) => {
  if (run === undefined || files === undefined) {
    return Effect.succeed<VmEnd>({ state: "crashed", reason: "it has no process" })
  }
  return run.boot_id === host.bootId
    ? vmm.endOf(run.vmm, files)
    : Effect.succeed<VmEnd>({ state: "crashed", reason: "the host was restarted" })
}

/**
 * Brings a record in line with the processes of this host, unless another daemon looks after it: a process is adopted, a run
 * without one is ended. `found` is the process that names the record's id.
 *
 * The VMM of an unfinished start is killed if its guest does not run yet. It is adopted if it does not answer.
 */
const reconcile = (context: LifecycleContext, current: VmWithRun, found: FoundProcess | undefined) =>
  Effect.gen(function* () {
    const { databaseId, host, own } = context
    const { run, vm } = current
    if (run !== undefined && ownerOf(run, host) !== "gone") return
    const files = Either.getOrUndefined(filesOf(own.stateFolder, vm.id))
    if (found !== undefined && files !== undefined) {
      // A record of another database may have the same id.
      const isOurs = run !== undefined || !(yield* isFolderOfAnother(files.folder, databaseId))
      if (isOurs) return yield* adoptProcess(context, current, found, files)
    }
    if (run === undefined && vm.state !== "running") return
    yield* storeEnd(context, current, yield* findEnd(context, run, files))
  })

/**
 * Reads a record, and brings it in line with the processes of this host. With `isRunOnly` no process is looked for where the
 * record does not run.
 */
export const reconcileOne = (
  context: LifecycleContext,
  nameOrId: string,
  { isRunOnly }: { readonly isRunOnly: boolean } = { isRunOnly: false }
): Effect.Effect<VmWithRun, Failures> =>
  Effect.gen(function* () {
    const { host, scan, store, supervisor } = context
    const current = yield* store.getWithRun(nameOrId)
    const { run, vm } = current
    if (run !== undefined && ownerOf(run, host) !== "gone") return current
    const isRunning = run !== undefined || vm.state === "running"
    if (!isRunning && isRunOnly) return current
    // A process that there should be, or that this daemon watched until now, is looked up again.
    const isExpected = isRunning || supervisor.find(vm.id) !== undefined
    const found = yield* isExpected ? scan.findNow(vm.id) : scan.find(vm.id)
    if (!isRunning && found === undefined) return current
    yield* reconcile(context, current, found)
    return yield* store.getWithRun(vm.id)
  })

/** Side by side, so that the store writes many in one transaction. */
const concurrency = 256

/**
 * Reconciles records. Returns whether to look again soon: one could not be stored, or another daemon of this host supervises
 * one, which is taken over when that daemon is gone.
 */
const reconcileEach = (context: LifecycleContext, all: ReadonlyArray<VmWithRun>, processes: ProcessesById) =>
  Effect.map(
    Effect.forEach(
      all,
      (current) =>
        reconcile(context, current, processes.get(current.vm.id)).pipe(
          Effect.as(current.run !== undefined && ownerOf(current.run, context.host) === "other daemon"),
          Effect.catchAll(({ message }) =>
            Effect.as(Effect.logWarning(`VM '${current.vm.name}' could not be adopted: ${message}`), true)
          )
        ),
      { concurrency }
    ),
    (isLeft) => isLeft.includes(true)
  )

/** The record of a process that has no run. A process without a record is left alone. */
const recordOf = ({ databaseId, own, store }: LifecycleContext, { id, process, vmm }: FoundProcess) =>
  store.getWithRun(id).pipe(
    Effect.catchTag("NotFound", () =>
      Effect.gen(function* () {
        const files = Either.getOrUndefined(filesOf(own.stateFolder, id))
        if (files !== undefined && (yield* isFolderOf(files.folder, databaseId))) {
          yield* Effect.logWarning(`${vmm} process ${process.pid} runs VM ${id}, which has no record`)
        }
        return undefined
      })
    )
  )

/** Brings every record in line with every process of this host, whatever the records say. */
export const reconcileAll = (context: LifecycleContext): Effect.Effect<boolean, StoreUnavailable> =>
  Effect.gen(function* () {
    const processes = yield* context.scan.all
    const running = yield* context.store.running
    const known = new Set<string>(running.map(({ vm }) => vm.id))
    const unknown = Array.from(processes.values()).filter(({ id }) => !known.has(id))
    const others = yield* Effect.forEach(unknown, (found) => recordOf(context, found), { concurrency })
    return yield* reconcileEach(context, [...running, ...others.filter((other) => other !== undefined)], processes)
  })

/** Takes over what daemons of this host that are gone have left. */
export const reconcileGone = (context: LifecycleContext): Effect.Effect<boolean, StoreUnavailable> =>
  Effect.gen(function* () {
    const left = yield* context.store.runningExcept(supervisorOf(context.host))
    if (left.length === 0) return false
    return yield* reconcileEach(context, left, yield* context.scan.all)
  })
