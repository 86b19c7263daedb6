import { existsSync, ftruncateSync, statSync } from "node:fs"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { StartFailed, VmmUnavailable } from "../../domain/Errors.js"
import type { VmSettings } from "../VmSettings.js"
import { isKvmUsable, isVhostVsockUsable } from "./DeviceAccess.js"
import { programPath } from "./ProgramPath.js"
import { type QemuHost, qemuArguments } from "./QemuArguments.js"
import { type QmpClient, qmpClient } from "./QmpClient.js"
import type { FoundProcess, GuestState, VmEnd, VmFiles, VmSpec } from "./Vmm.js"
import { type Exit, exitMessage, spawnVmm } from "./VmmChild.js"
import type { VmmDriver } from "./VmmDriver.js"
import { readLogTail } from "./VmmLog.js"
import type { VmmRecognition } from "./VmmRecognition.js"
import { answerTimeout, signalKill, type VmmControl, watchAdopted, watchedProcess } from "./WatchedProcess.js"

/** How long QEMU may take to run the guest. */
const startTimeout = Duration.seconds(10)
const everyMillisecond = Schedule.spaced("1 millis")

const unavailable = (message: string) => new VmmUnavailable({ message })
const failed = (message: string) => new StartFailed({ message })

/** The event SHUTDOWN, which QEMU emits when it ends by itself. */
const shutdownEvent = /monitor_protocol_event_emit event=0 /
/** Reason 6 of ShutdownCause: the guest powered off. A reset has no such line. */
const shutdownRequest = /qemu_system_shutdown_request reason=(\d+)/
const trace = /^(?:\d+@[\d.]+:)?(?:monitor_protocol_event_emit|qemu_system_shutdown_request) /

/** Why QEMU ended by itself, if another program was the cause. */
const causeOutside = (lines: ReadonlyArray<string>): string | undefined => {
  const signal = lines.findLast((line) => line.includes("terminating on signal"))
  if (signal !== undefined) return signal
  const reason = lines.map((line) => shutdownRequest.exec(line)?.[1]).findLast((match) => match !== undefined)
  return reason === undefined || reason === "6" ? undefined : `QEMU was told to end (reason ${reason})`
}

const endOf = (files: VmFiles): VmEnd => {
  const lines = readLogTail(files.vmmLog)
  const cause = causeOutside(lines)
  if (cause !== undefined) return { state: "crashed", reason: cause }
  return lines.some((line) => shutdownEvent.test(line))
    ? { state: "stopped", reason: "exit code 0" }
    : {
        state: "crashed",
        reason: lines.findLast((line) => !trace.test(line)) ?? "QEMU ended without a word in its log"
      }
}

const endOfExit = (exit: Exit, files: VmFiles): VmEnd => {
  const logged = endOf(files)
  if (logged.state === "stopped" || exit.code === 0) return logged
  const message = exitMessage(exit)
  return { state: "crashed", reason: exit.signal === null ? `${message}: ${logged.reason}` : message }
}

const Status = Schema.Struct({ status: Schema.String })

/** A RunState of QEMU's QMP reference. */
const runStateOf = (answer: unknown): string | undefined =>
  Option.getOrUndefined(Schema.decodeUnknownOption(Status)(answer))?.status

/** Other states of QEMU are kinds of pause. */
const guestStateOf = (answer: unknown): GuestState => {
  const state = runStateOf(answer)
  if (state === undefined) return "unknown"
  return state === "running" ? "running" : state === "prelaunch" ? "not started" : "paused"
}

/** QEMU stops a guest that can't go on, and does not end. */
const faults: ReadonlySet<string | undefined> = new Set(["internal-error", "guest-panicked", "io-error"])

const faultMessage = (state: string | undefined, files: VmFiles): string => {
  const logged = readLogTail(files.vmmLog).findLast((line) => line.startsWith("KVM internal error"))
  return [`QEMU stopped the guest: ${state}`, ...(logged === undefined ? [] : [logged])].join(": ")
}

interface QemuControl extends VmmControl {
  /** The end of a guest that was killed for a fault, else the end that is given. */
  readonly orFault: (end: VmEnd) => VmEnd
}

const qemuControl = (found: FoundProcess, files: VmFiles, recognition: VmmRecognition): QemuControl => {
  let fault: string | undefined
  const qmp: QmpClient = qmpClient(files.apiSocket, () => Effect.runFork(killIfFaulted))
  // QEMU 7.2 never ends when a command comes in while it shuts down (its monitor_cleanup waits for the command).
  const killIfShutDown = Effect.sync(() => {
    if (endOf(files).state === "stopped") signalKill(recognition, found)
  })
  const execute = (command: string) =>
    qmp.execute(command).pipe(
      Effect.interruptible,
      Effect.timeout(answerTimeout),
      Effect.tapErrorTag("TimeoutException", () => killIfShutDown)
    )
  const killIfFaulted = execute("query-status").pipe(
    Effect.map(runStateOf),
    Effect.tap((state) => {
      if (!faults.has(state)) return
      fault = faultMessage(state, files)
      signalKill(recognition, found)
    }),
    Effect.ignore
  )
  return {
    orFault: (end) => (fault === undefined ? end : { state: "crashed", reason: fault }),
    guestState: Effect.match(execute("query-status"), {
      onFailure: (): GuestState => "unknown",
      onSuccess: guestStateOf
    }),
    askToStop: Effect.ignore(execute("system_powerdown")),
    pause: execute("stop").pipe(
      Effect.asVoid,
      Effect.catchTags({
        QmpError: ({ reason }) => unavailable(`QEMU does not pause the VM: ${reason}`),
        TimeoutException: () => unavailable("QEMU does not answer")
      })
    ),
    resume: execute("cont").pipe(
      Effect.as(true),
      Effect.catchAll((error) => Effect.succeed(error._tag === "QmpError" && !error.isUnreachable))
    ),
    connection: qmp.closed,
    close: qmp.close
  }
}

/** Its socket appears some milliseconds after its process, and takes connections a moment later. */
const untilRunning = ({ files }: VmSpec, { guestState }: VmmControl) =>
  Effect.sync(() => existsSync(files.apiSocket)).pipe(
    Effect.repeat({ until: (exists) => exists, schedule: everyMillisecond }),
    Effect.zipRight(Effect.repeat(guestState, { until: (state) => state === "running", schedule: everyMillisecond })),
    Effect.timeoutFail({
      duration: startTimeout,
      onTimeout: () => failed("QEMU did not run the guest within 10 seconds")
    })
  )

/** Why QEMU ended before its guest ran: also if it aborted, its last error. */
const refusalOf = (exit: Exit, { reason }: VmEnd, files: VmFiles): string => {
  const error = readLogTail(files.vmmLog).findLast((line) => line.includes("error: "))
  return exit.signal === null || error === undefined ? reason : `${exitMessage(exit)}: ${error}`
}

/** Fails with the reason for an end before the guest ran. The guest may also have ended by itself already. */
const assertBooted = (exit: Exit, end: VmEnd, files: VmFiles) =>
  end.state === "stopped" ? Effect.void : failed(`QEMU ended with ${refusalOf(exit, end, files)}`)

const hostFor = (accel: QemuHost["accel"]): QemuHost => ({
  accel,
  hasVhostVsock: isVhostVsockUsable(),
  isBlockDevice: (path) => statSync(path, { throwIfNoEntry: false })?.isBlockDevice() ?? false
})

/** Returns once the guest runs. On failure or interruption there is no process left. */
const startQemu = (program: string, spec: VmSpec, accel: QemuHost["accel"], recognition: VmmRecognition) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { files, id, initrdPath } = spec
      // For a multiboot kernel, QEMU takes it for a list of files.
      if (initrdPath?.includes(","))
        return yield* failed(`QEMU takes no initrd with a comma in its path: ${initrdPath}`)
      const child = yield* spawnVmm(program, qemuArguments(spec, hostFor(accel)), spec)
      const found: FoundProcess = { id: id.toLowerCase(), vmm: "qemu", process: child.process }
      const control = qemuControl(found, files, recognition)
      const endOfChild = (exit: Exit) => control.orFault(endOfExit(exit, files))
      const endedEarly = Effect.flatMap(Deferred.await(child.exit), (exit) =>
        assertBooted(exit, endOfChild(exit), files)
      )
      yield* restore(
        Effect.raceFirst(Effect.interruptible(untilRunning(spec, control)), Effect.interruptible(endedEarly))
      ).pipe(Effect.onError(() => Effect.zipRight(control.close, child.discard)))
      const ended = Effect.map(Deferred.await(child.exit), endOfChild)
      return watchedProcess(found, control, { ended, cancel: Effect.void }, recognition)
    })
  )

/** QEMU's microvm, controlled over QMP. */
export const qemu = (settings: Pick<VmSettings, "qemu" | "accel">, recognition: VmmRecognition): VmmDriver => ({
  program: Effect.suspend(() => {
    const program = programPath(settings.qemu)
    return program === undefined
      ? unavailable(`found no program '${settings.qemu}': install QEMU (package qemu-system-x86), or set vm.qemu`)
      : Effect.succeed(program)
  }),

  start: (program, spec) => {
    const startWith = (accel: QemuHost["accel"]) => startQemu(program, spec, accel, recognition)
    if (settings.accel !== "auto") return startWith(settings.accel)
    if (!isKvmUsable()) return startWith("tcg")
    // A nested KVM may lack what QEMU needs of it.
    return Effect.catchTag(startWith("kvm"), "StartFailed", ({ message }) =>
      Effect.logWarning(`VM '${spec.name}' is emulated, since it does not start under KVM: ${message}`).pipe(
        Effect.zipRight(Effect.sync(() => ftruncateSync(spec.vmmLogDescriptor))),
        Effect.zipRight(startWith("tcg"))
      )
    )
  },

  attach: (found, files) => {
    const control = qemuControl(found, files, recognition)
    const end = Effect.sync(() => control.orFault(endOf(files)))
    return Effect.map(watchAdopted(found.process, control, end), (watch) =>
      watchedProcess(found, control, watch, recognition)
    )
  },

  endOf
})
