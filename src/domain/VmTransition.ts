import * as Either from "effect/Either"
import { Conflict, type PreconditionFailed } from "./Errors.js"
import type { CreateVm, UpdateVm, Vm } from "./Vm.js"
import type { HostProcess, VmChange, VmRun, VmWithRun } from "./VmRun.js"

/** What a change makes of a record and its run: `undefined` leaves both as they are. */
type Decision = Either.Either<VmChange | undefined, Conflict>

/** What a caller requires of a record before it changes; `undefined` stands for a record that does not exist. */
export type Precondition = (vm: Vm | undefined) => Either.Either<void, PreconditionFailed>

/** Holds for any record, and for none. */
export const noPrecondition: Precondition = () => Either.void

/** Decides as `decide` does if the record meets the precondition. */
export const given =
  <Others extends ReadonlyArray<unknown>, A, E>(
    precondition: Precondition,
    decide: (current: VmWithRun, ...others: Others) => Either.Either<A, E>
  ) =>
  (current: VmWithRun, ...others: Others): Either.Either<A, E | PreconditionFailed> =>
    Either.flatMap(precondition(current.vm), () => decide(current, ...others))

/** The fields that a VM has only while it runs. */
const noProcess = { pid: undefined, socket_path: undefined, uds_path: undefined } as const

/** Fails while a VM is being started: nothing else may happen to it then. */
const assertNotStarting = ({ run, vm }: VmWithRun): Either.Either<void, Conflict> =>
  run?.phase === "starting" ? Either.left(Conflict.beingStarted(vm.name)) : Either.void

/** Fails if another host's daemon runs the VM. */
const assertOnHost = ({ run, vm }: VmWithRun, host: string): Either.Either<void, Conflict> =>
  run !== undefined && run.host !== host ? Either.left(Conflict.onHost(vm.name, run.host)) : Either.void

const startable: ReadonlyArray<string> = ["created", "stopped", "crashed", "failed"]

const isShared = (one: VmRun, other: VmRun) =>
  one.host === other.host
    ? one.drives.find(({ identity, is_writable }) =>
        other.drives.some((drive) => drive.identity === identity && (drive.is_writable || is_writable))
      )
    : undefined

/**
 * Claims a VM for a start: `starting`, before any process exists. `others` are the runs of the other VMs: a drive with a
 * writer has no other reader or writer.
 */
export const claimStart =
  (claim: VmRun) =>
  (current: VmWithRun, others: ReadonlyArray<VmWithRun>): Decision => {
    const { run, vm } = current
    return assertOnHost(current, claim.host).pipe(
      Either.flatMap(() => assertNotStarting(current)),
      Either.flatMap((): Decision => {
        if (run !== undefined || vm.state === "running") return Either.left(Conflict.alreadyRunning(vm.name))
        if (!startable.includes(vm.state)) {
          return Either.left(Conflict.cannotStart(vm.name, `nexusd does not know its state '${vm.state}'`))
        }
        for (const other of others) {
          const drive = other.run && isShared(claim, other.run)
          if (drive !== undefined) {
            return Either.left(Conflict.cannotStart(vm.name, `${drive.path} is in use by VM '${other.vm.name}'`))
          }
        }
        return Either.right({ set: {}, run: { ...claim, phase: "starting" } })
      })
    )
  }

/** What a record shows of a VM that runs. Times are in seconds since the epoch. */
export interface Started {
  readonly process: HostProcess
  readonly socket_path: string
  readonly uds_path: string | undefined
  readonly console_log_path: string
  readonly started_at: number
  /** Shown where the store has a column for it. */
  readonly host: string
}

const running = ({ process, ...paths }: Started): VmChange["set"] => ({
  state: "running",
  pid: process.pid,
  ...paths,
  stopped_at: undefined
})

/** The guest runs. Changes nothing if the run is not the one that was claimed: its process must go then. */
export const confirmStart =
  (runId: string, started: Started) =>
  ({ run }: VmWithRun): Decision =>
    Either.right(
      run?.run_id === runId && run.phase === "starting"
        ? { set: running(started), run: { ...run, phase: "running", process: started.process } }
        : undefined
    )

/** Gives a claim up: `state` is `failed`, or absent where nothing was tried and the state stays. */
export const abandonStart =
  (runId: string, state?: "failed") =>
  ({ run }: VmWithRun): Decision =>
    Either.right(
      run?.run_id === runId && run.phase === "starting"
        ? { set: state === undefined ? {} : { ...noProcess, state }, run: undefined }
        : undefined
    )

/** Notes that a VM is to stop, before its guest is asked: its end is then `stopped`. */
export const beginStop =
  (host: string) =>
  (current: VmWithRun): Decision => {
    const { run, vm } = current
    return assertOnHost(current, host).pipe(
      Either.flatMap(() => assertNotStarting(current)),
      Either.flatMap((): Decision => {
        if (run === undefined) return Either.left(Conflict.notRunning(vm.name))
        return Either.right(run.phase === "stopping" ? undefined : { set: {}, run: { ...run, phase: "stopping" } })
      })
    )
  }

/** How a VM ended. */
export type EndState = "stopped" | "crashed"

/** A VM has ended. Changes nothing if that run is over: the first to see an end records it. */
export const endRun =
  (runId: string, state: EndState, stopped_at: number) =>
  ({ run }: VmWithRun): Decision => {
    if (run?.run_id !== runId) return Either.right(undefined)
    const ended = run.phase === "starting" ? "failed" : run.phase === "stopping" ? "stopped" : state
    return Either.right({ set: { ...noProcess, state: ended, stopped_at }, run: undefined })
  }

/** A record says `running`, and there is neither a run nor a process: it was restored or written by another program. */
export const endWithoutRun =
  (stopped_at: number) =>
  ({ run, vm }: VmWithRun): Decision =>
    Either.right(
      run === undefined && vm.state === "running"
        ? { set: { ...noProcess, state: "crashed", stopped_at }, run: undefined }
        : undefined
    )

/** Takes over a VM whose process was found, from a daemon that is gone. `expected` is the run that was seen before. */
export const adopt =
  (expected: VmRun | undefined, adopted: VmRun, started: Started) =>
  ({ run, vm }: VmWithRun): Decision => {
    if (run?.run_id !== expected?.run_id) return Either.right(undefined)
    return Either.right({
      set: running({ ...started, started_at: vm.started_at ?? started.started_at }),
      run: { ...adopted, phase: run?.phase === "stopping" ? "stopping" : "running", process: started.process }
    })
  }

/**
 * The VM is given up with its host, or with its container (pid namespace), which will not come back: nothing is done to its
 * process. `here` is what the caller can see.
 */
export const loseHost =
  (here: { readonly name: string; readonly pidNamespace: string }, stopped_at: number) =>
  ({ run, vm }: VmWithRun): Decision => {
    if (run === undefined) return Either.left(Conflict.notRunning(vm.name))
    if (run.host === here.name && run.pid_namespace === here.pidNamespace) {
      return Either.left(new Conflict({ message: `VM '${vm.name}' runs on this host, which is not lost: stop it` }))
    }
    return Either.right({ set: { ...noProcess, state: "crashed", stopped_at }, run: undefined })
  }

const isRunning = ({ run, vm }: VmWithRun) => vm.state === "running" || run !== undefined

/** The fields that stay while a VM runs: the VMM was given them. */
const fixedWhileRunning = ["name", "vcpu_count", "mem_size_mib", "config_json"] as const

/** Applies the fields that differ. */
export const update =
  (wanted: UpdateVm) =>
  (current: VmWithRun): Decision => {
    const { run, vm } = current
    const set: VmChange["set"] = Object.fromEntries(
      Object.entries(wanted)
        .map(([field, value]) => [field, value ?? undefined] as const)
        .filter(([field, value]) => vm[field as keyof Vm] !== value)
    )
    return Either.flatMap(assertNotStarting(current), (): Decision => {
      if (Object.keys(set).length === 0) return Either.right(undefined)
      if (isRunning(current) && fixedWhileRunning.some((field) => field in set)) {
        return Either.left(Conflict.running("update", vm.name))
      }
      return Either.right({ set, run })
    })
  }

/** Applies all fields of a VM to be created but its name: a `config_json` that is left out is removed. */
export const replace = ({ config_json, mem_size_mib, role, vcpu_count }: CreateVm) =>
  update({ role, vcpu_count, mem_size_mib, config_json: config_json ?? null })

/** Fails unless a record may be deleted. */
export const assertDeletable = (current: VmWithRun): Either.Either<void, Conflict> =>
  Either.flatMap(assertNotStarting(current), () =>
    isRunning(current) ? Either.left(Conflict.running("delete", current.vm.name)) : Either.void
  )
