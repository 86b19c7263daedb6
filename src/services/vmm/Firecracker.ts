import { existsSync } from "node:fs"
import { connect } from "node:net"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { StartFailed, VmmUnavailable } from "../../domain/Errors.js"
import type { VmSettings } from "../VmSettings.js"
import { isKvmUsable } from "./DeviceAccess.js"
import { type ApiCall, apiConnection, callApi, isUnreachable } from "./FirecrackerApi.js"
import {
  configurationCalls,
  describeInstance,
  instanceStart,
  pause,
  resume,
  sendCtrlAltDel
} from "./FirecrackerRequests.js"
import { programPath } from "./ProgramPath.js"
import type { GuestState, VmEnd, VmFiles, VmSpec } from "./Vmm.js"
import { type Exit, exitMessage, spawnVmm } from "./VmmChild.js"
import type { VmmDriver } from "./VmmDriver.js"
import { readLogTail } from "./VmmLog.js"
import { idOption, type VmmRecognition } from "./VmmRecognition.js"
import { answerTimeout, type VmmControl, watchAdopted, watchedProcess } from "./WatchedProcess.js"

/** How long Firecracker may take to listen, and for each call of a start. */
const startTimeout = Duration.seconds(10)
const everyMillisecond = Schedule.spaced("1 millis")

const unavailable = (message: string) => new VmmUnavailable({ message })

const logPrefix = /^\S+ \[[^\]]*\] /

/**
 * A vCPU that can't go on, as at a triple fault. The exit code is 0 or 1 then: Firecracker 1.16 signals the end before it
 * passes the code on (`Vcpu::exit`).
 */
const vcpuFault = /^(?:Unexpected exit reason on vcpu run|Failure during vcpu run|Received KVM_EXIT_)/

/** Why Firecracker ended with an error, by its log. */
const logReason = (messages: ReadonlyArray<string>): string | undefined =>
  messages.findLast((message) => vcpuFault.test(message)) ?? messages.findLast((message) => /^\w*Error\b/.test(message))

const readMessages = (files: VmFiles) => readLogTail(files.vmmLog).map((line) => line.replace(logPrefix, ""))

const endOfCode = (code: number | null, messages: ReadonlyArray<string>): VmEnd => {
  const exit = `exit code ${code}`
  if (code === 0 && !messages.some((message) => vcpuFault.test(message))) return { state: "stopped", reason: exit }
  const reason = logReason(messages)
  return { state: "crashed", reason: reason === undefined ? exit : `${exit}: ${reason}` }
}

const endOfExit = (exit: Exit, files: VmFiles): VmEnd =>
  exit.signal === null ? endOfCode(exit.code, readMessages(files)) : { state: "crashed", reason: exitMessage(exit) }

const endOf = (files: VmFiles): VmEnd => {
  const messages = readMessages(files)
  const code = /^Firecracker exiting .*exit_code=(\d+)$/.exec(messages.at(-1) ?? "")?.[1]
  return code === undefined
    ? { state: "crashed", reason: "Firecracker ended without a word in its log" }
    : endOfCode(Number(code), messages)
}

const guestStates: Readonly<Record<string, GuestState>> = {
  "Not started": "not started",
  Running: "running",
  Paused: "paused"
}

const guestStateOf = (answer: string): GuestState => {
  const instance: unknown = JSON.parse(answer)
  return typeof instance === "object" && instance !== null && "state" in instance
    ? (guestStates[String(instance.state)] ?? "unknown")
    : "unknown"
}

/** Each effect is made when it runs: a thousand VMs wait for next to nothing. */
const firecrackerControl = ({ apiSocket }: VmFiles): VmmControl => {
  const call = (apiCall: ApiCall) =>
    callApi(apiSocket, apiCall).pipe(Effect.interruptible, Effect.timeout(answerTimeout))
  return {
    guestState: Effect.suspend(() =>
      call(describeInstance).pipe(
        Effect.flatMap((answer) => Effect.try(() => guestStateOf(answer))),
        Effect.orElseSucceed((): GuestState => "unknown")
      )
    ),
    askToStop: Effect.suspend(() => Effect.ignore(call(sendCtrlAltDel))),
    pause: Effect.suspend(() =>
      call(pause).pipe(
        Effect.asVoid,
        Effect.catchTags({
          ApiRefusal: ({ reason }) => unavailable(`Firecracker does not pause the VM: ${reason}`),
          ApiUnreachable: ({ reason }) => unavailable(`Firecracker does not answer: ${reason}`),
          TimeoutException: () => unavailable("Firecracker does not answer")
        })
      )
    ),
    resume: Effect.suspend(() =>
      call(resume).pipe(
        Effect.as(true),
        Effect.catchTag("ApiRefusal", () => Effect.succeed(true)),
        Effect.orElseSucceed(() => false)
      )
    ),
    connection: Effect.async<void>((resume) => {
      const socket = connect(apiSocket).unref().resume()
      socket.on("error", () => {})
      socket.once("close", () => resume(Effect.void))
      return Effect.sync(() => socket.destroy())
    }),
    close: Effect.void
  }
}

const failed = (message: string) => new StartFailed({ message })

const silent = () => failed("Firecracker did not answer within 10 seconds")

/** Configures a VM over the API, on one connection, and boots it. */
const configureAndBoot = (spec: VmSpec) =>
  Effect.gen(function* () {
    const call = yield* apiConnection(spec.files.apiSocket)
    const [machine, ...devices] = configurationCalls(spec)
    // Its socket appears some milliseconds after its process, and takes connections a moment later.
    yield* Effect.sync(() => existsSync(spec.files.apiSocket)).pipe(
      Effect.repeat({ until: (exists) => exists, schedule: everyMillisecond }),
      Effect.zipRight(Effect.retry(call(machine), { while: isUnreachable, schedule: everyMillisecond })),
      Effect.timeoutFail({ duration: startTimeout, onTimeout: silent })
    )
    for (const apiCall of [...devices, instanceStart]) {
      yield* Effect.timeoutFail(call(apiCall), { duration: startTimeout, onTimeout: silent })
    }
  }).pipe(
    Effect.scoped,
    Effect.catchTags({
      ApiRefusal: ({ path, reason }) => failed(`Firecracker refused ${path}: ${reason}`),
      // If it has ended, its exit says more.
      ApiUnreachable: ({ reason }) =>
        Effect.delay(failed(`Firecracker closed its API connection: ${reason}`), answerTimeout)
    })
  )

/** Fails with the reason for an end before the guest ran. The guest may also have ended by itself already. */
const assertBooted = (exit: Exit, files: VmFiles) =>
  exit.code === 0 && endOf(files).state === "stopped"
    ? Effect.void
    : failed(`Firecracker ended with ${endOfExit(exit, files).reason}`)

/** Firecracker, configured over its API. */
export const firecracker = (settings: Pick<VmSettings, "firecracker">, recognition: VmmRecognition): VmmDriver => ({
  program: Effect.suspend(() => {
    const program = programPath(settings.firecracker)
    if (program === undefined) {
      return unavailable(`found no program '${settings.firecracker}': install Firecracker, or set vm.firecracker`)
    }
    return isKvmUsable()
      ? Effect.succeed(program)
      : unavailable("can't read and write /dev/kvm: Firecracker needs KVM, and a user who is in the group kvm")
  }),

  start: (program, spec) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const { files, id } = spec
        const child = yield* spawnVmm(
          program,
          [idOption.firecracker, id, "--api-sock", files.apiSocket, "--log-path", files.vmmLog, "--level", "Info"],
          spec
        )
        const ended = Effect.flatMap(Deferred.await(child.exit), (exit) => assertBooted(exit, files))
        yield* restore(
          Effect.raceFirst(Effect.interruptible(configureAndBoot(spec)), Effect.interruptible(ended))
        ).pipe(Effect.onError(() => child.discard))
        return watchedProcess(
          { id: id.toLowerCase(), vmm: "firecracker", process: child.process },
          firecrackerControl(files),
          { ended: Effect.map(Deferred.await(child.exit), (exit) => endOfExit(exit, files)), cancel: Effect.void },
          recognition
        )
      })
    ),

  attach: (found, files) =>
    Effect.gen(function* () {
      const control = firecrackerControl(files)
      const watch = yield* watchAdopted(
        found.process,
        control,
        Effect.sync(() => endOf(files))
      )
      return watchedProcess(found, control, watch, recognition)
    }),

  endOf
})
