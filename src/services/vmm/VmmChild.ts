import { type ChildProcess, spawn } from "node:child_process"
import { rmSync } from "node:fs"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import { StartFailed } from "../../domain/Errors.js"
import type { HostProcess } from "../../domain/VmRun.js"
import { systemErrorMessage } from "../../runtime/SystemError.js"
import { hostProcess } from "./HostProcesses.js"
import { inheritedAsNull } from "./InheritedDescriptors.js"
import type { VmSpec } from "./Vmm.js"

/** How a process ended (waitpid(2)): one of both is null. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** `exit code 1`, or `killed by SIGKILL`. */
export const exitMessage = ({ code, signal }: Exit): string =>
  signal === null ? `exit code ${code}` : `killed by ${signal}`

/** A VMM that this process started. */
interface VmmChild {
  readonly process: HostProcess
  readonly exit: Deferred.Deferred<Exit>
  /** Kills it, and removes its sockets once it has ended. */
  readonly discard: Effect.Effect<void>
}

const spawned = (child: ChildProcess) =>
  Effect.async<number, StartFailed>((resume) => {
    if (child.pid !== undefined) return resume(Effect.succeed(child.pid))
    child.once("error", (error) => {
      const message = `cannot run ${child.spawnfile}: ${systemErrorMessage(error)}`
      resume(Effect.fail(new StartFailed({ message })))
    })
  })

/**
 * Starts a VMM in a session of its own, with an empty environment and no descriptors but /dev/null, the console and the log.
 * It outlives this process, and does not keep it running.
 */
export const spawnVmm = (program: string, args: ReadonlyArray<string>, spec: VmSpec) =>
  Effect.gen(function* () {
    const child = spawn(program, args, {
      cwd: "/",
      env: {},
      detached: true,
      stdio: ["ignore", spec.consoleDescriptor, spec.vmmLogDescriptor, ...inheritedAsNull()]
    })
    child.unref()
    const exit = Deferred.unsafeMake<Exit>(FiberId.none)
    child.once("exit", (code, signal) => Deferred.unsafeDone(exit, Effect.succeed({ code, signal })))
    const pid = yield* spawned(child)
    const discard = Effect.sync(() => child.kill("SIGKILL")).pipe(
      Effect.zipRight(Deferred.await(exit)),
      Effect.zipRight(
        Effect.sync(() => {
          rmSync(spec.files.apiSocket, { force: true })
          rmSync(spec.files.vsockSocket, { force: true })
        })
      )
    )
    // Not waited for yet, so that it is there even if it has ended.
    return { process: hostProcess(pid) ?? { pid, start_time: 0 }, exit, discard } satisfies VmmChild
  })
