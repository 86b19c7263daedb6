import { existsSync, statSync } from "node:fs"
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
import type { GuestState, VmEnd, VmFiles, VmSpec } from "./Vmm.js"
import { type Exit, exitMessage, spawnVmm } from "./VmmChild.js"
import type { VmmDriver } from "./VmmDriver.js"
import { readLogTail } from "./VmmLog.js"
import type { VmmRecognition } from "./VmmRecognition.js"
import { answerTimeout, type VmmControl, watchAdopted, watchedProcess } from "./WatchedProcess.js"

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
  const message = exitMessage(exit)
  if (exit.signal !== null) return { state: "crashed", reason: message }
  const lines = readLogTail(files.vmmLog)
  const reason = exit.code === 0 ? causeOutside(lines) : lines.findLast((line) => !trace.test(line))
  if (exit.code === 0 && reason === undefined) return { state: "stopped", reason: message }
  return { state: "crashed", reason: reason === undefined ? message : `${message}: ${reason}` }
}

const Status = Schema.Struct({ status: Schema.String })

/** Other states of QEMU are kinds of pause (RunState of its QMP reference). */
const guestStateOf = (answer: unknown): GuestState =>
  Option.match(Schema.decodeUnknownOption(Status)(answer), {
    onNone: () => "unknown",
    onSome: ({ status }) => (status === "running" ? "running" : status === "prelaunch" ? "not started" : "paused")
  })

const qemuControl = (qmp: QmpClient): VmmControl => {
  const execute = (command: string) => qmp.execute(command).pipe(Effect.interruptible, Effect.timeout(answerTimeout))
  return {
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

/** Waits until the guest runs. */
const untilRunning = (spec: VmSpec, qmp: QmpClient) =>
  // Its socket appears some milliseconds after its process, and takes connections a moment later.
  Effect.sync(() => existsSync(spec.files.apiSocket)).pipe(
    Effect.repeat({ until: (exists) => exists, schedule: everyMillisecond }),
    Effect.zipRight(
      Effect.retry(qmp.execute("query-status"), {
        while: ({ isUnreachable }) => isUnreachable,
        schedule: everyMillisecond
      })
    ),
    Effect.repeat({ until: (answer) => guestStateOf(answer) === "running", schedule: everyMillisecond }),
    Effect.catchTag("QmpError", ({ reason }) => failed(`QEMU refused query-status: ${reason}`)),
    Effect.timeoutFail({
      duration: startTimeout,
      onTimeout: () => failed("QEMU did not run the guest within 10 seconds")
    })
  )

/** Fails with the reason for an end before the guest ran. The guest may also have ended by itself already. */
const assertBooted = (exit: Exit, files: VmFiles) =>
  exit.code === 0 && endOf(files).state === "stopped"
    ? Effect.void
    : failed(`QEMU ended with ${endOfExit(exit, files).reason}`)

const hostFor = (accel: VmSettings["accel"]): QemuHost => ({
  accel: accel === "auto" ? (isKvmUsable() ? "kvm" : "tcg") : accel,
  hasVhostVsock: isVhostVsockUsable(),
  isBlockDevice: (path) => statSync(path, { throwIfNoEntry: false })?.isBlockDevice() ?? false
})

/** QEMU's microvm, controlled over QMP. */
export const qemu = (settings: Pick<VmSettings, "qemu" | "accel">, recognition: VmmRecognition): VmmDriver => ({
  program: Effect.suspend(() => {
    const program = programPath(settings.qemu)
    return program === undefined
      ? unavailable(`found no program '${settings.qemu}': install QEMU (package qemu-system-x86), or set vm.qemu`)
      : Effect.succeed(program)
  }),

  start: (program, spec) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const { files, id, initrdPath } = spec
        // For a multiboot kernel, QEMU takes it for a list of files.
        if (initrdPath?.includes(","))
          return yield* failed(`QEMU takes no initrd with a comma in its path: ${initrdPath}`)
        const child = yield* spawnVmm(program, qemuArguments(spec, hostFor(settings.accel)), spec)
        const qmp = qmpClient(files.apiSocket)
        const endedEarly = Effect.flatMap(Deferred.await(child.exit), (exit) => assertBooted(exit, files))
        yield* restore(
          Effect.raceFirst(Effect.interruptible(untilRunning(spec, qmp)), Effect.interruptible(endedEarly))
        ).pipe(Effect.onError(() => Effect.zipRight(qmp.close, child.discard)))
        return watchedProcess(
          { id: id.toLowerCase(), vmm: "qemu", process: child.process },
          qemuControl(qmp),
          { ended: Effect.map(Deferred.await(child.exit), (exit) => endOfExit(exit, files)), cancel: Effect.void },
          recognition
        )
      })
    ),

  attach: (found, files) =>
    Effect.gen(function* () {
      const control = qemuControl(qmpClient(files.apiSocket))
      const end = Effect.sync(() => endOf(files))
      return watchedProcess(found, control, yield* watchAdopted(found.process, control, end), recognition)
    }),

  endOf
})
