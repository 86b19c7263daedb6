import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type { VmmUnavailable } from "../../domain/Errors.js"
import type { HostProcess } from "../../domain/VmRun.js"
import { isRunning } from "./HostProcesses.js"
import type { FoundProcess, GuestState, VmEnd, VmmProcess } from "./Vmm.js"
import type { VmmRecognition } from "./VmmRecognition.js"

/** How long a VMM may take for an answer. */
export const answerTimeout = Duration.seconds(1)

/** What a VMM does through its socket. Nothing takes longer than `answerTimeout`. */
export interface VmmControl {
  readonly guestState: Effect.Effect<GuestState>
  readonly askToStop: Effect.Effect<void>
  readonly pause: Effect.Effect<void, VmmUnavailable>
  /** Whether the VMM answered. */
  readonly resume: Effect.Effect<boolean>
  /** Connects if need be, and completes when the connection is closed or could not be made. */
  readonly connection: Effect.Effect<void>
  readonly close: Effect.Effect<void>
}

/** The end of a process, and how to stop waiting for it. */
export interface Watch {
  readonly ended: Effect.Effect<VmEnd>
  readonly cancel: Effect.Effect<void>
}

/** At a process's end the kernel closes its sockets first. Without a connection, this looks once a second. */
const untilEnd = (process: HostProcess, { connection }: VmmControl) =>
  Effect.gen(function* () {
    let delay = Duration.millis(1)
    while (isRunning(process)) {
      const [lasted] = yield* Effect.timed(connection)
      if (Duration.greaterThan(lasted, answerTimeout)) delay = Duration.millis(1)
      yield* Effect.sleep(delay)
      delay = Duration.min(Duration.times(delay, 2), Duration.seconds(1))
    }
  })

/** Watches a process that has another parent. */
export const watchAdopted = (
  process: HostProcess,
  control: VmmControl,
  end: Effect.Effect<VmEnd>
): Effect.Effect<Watch> =>
  Effect.gen(function* () {
    const ended = yield* Deferred.make<VmEnd>()
    const fiber = yield* untilEnd(process, control).pipe(
      Effect.zipRight(end),
      Effect.flatMap((end) => Deferred.succeed(ended, end)),
      Effect.interruptible,
      Effect.forkDaemon
    )
    return { ended: Deferred.await(ended), cancel: Fiber.interrupt(fiber) }
  })

/** Kills a process if it still is the one that was found. */
export const signalKill = (recognition: VmmRecognition, found: FoundProcess) => {
  if (!recognition.isStill(found)) return
  try {
    process.kill(found.process.pid, "SIGKILL")
  } catch {
    // It has just ended.
  }
}

export const watchedProcess = (
  found: FoundProcess,
  control: VmmControl,
  { cancel, ended }: Watch,
  recognition: VmmRecognition
): VmmProcess => {
  const resumeUntilAnswered = Effect.suspend(() =>
    control.resume.pipe(
      Effect.repeat({ until: (isAnswered) => isAnswered, schedule: Schedule.spaced("1 second") }),
      Effect.raceFirst(ended),
      Effect.interruptible
    )
  )
  /** Does not wait for a VMM that does not answer now: it may pause the guest once it does. */
  const resume = Effect.suspend(() =>
    Effect.flatMap(control.resume, (isAnswered) =>
      isAnswered ? Effect.void : Effect.asVoid(Effect.forkDaemon(resumeUntilAnswered))
    )
  )
  return {
    vmm: found.vmm,
    process: found.process,
    ended,
    guestState: control.guestState,
    askToStop: control.askToStop,
    kill: Effect.suspend(() => {
      signalKill(recognition, found)
      return Effect.asVoid(ended)
    }),
    whilePaused: (use) =>
      Effect.acquireUseRelease(
        Effect.onError(control.pause, () => resume),
        () => use,
        () => resume
      ),
    resume,
    detach: Effect.zipRight(cancel, control.close)
  }
}
