import { lstatSync, type Stats } from "node:fs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { VmFiles, VmmProcess } from "../vmm/Vmm.js"
import { minRotationMillis } from "./ConsoleLog.js"
import { withFile } from "./FileRefused.js"
import { notePaused, noteResumed, rotate } from "./LogRotation.js"
import { truncate } from "./VmFolder.js"

/** A VM that runs, and its logs at the last look. Times are in milliseconds. */
export interface WatchedLogs {
  readonly id: string
  readonly files: VmFiles
  readonly process: VmmProcess
  size: number
  lookedAt: number
  nextLookAt: number
  /** Nothing else may pause or resume the guest then. */
  isRotating: boolean
}

export const unwatched = { size: 0, lookedAt: 0, nextLookAt: 0, isRotating: false }

/** Logs of a thousand idle VMs cost next to nothing, a log that grows is looked at in time. */
const maxLookMillis = 8_000
const minLookMillis = minRotationMillis / 4
const maxTickMillis = 1_000
/** How long a log that could not be rotated is left alone. */
const rotationRetryMillis = 30_000
const maxVmmLogBytes = 1024 * 1024

/** A log that can't be looked at is looked at again later. */
const statsOf = (path: string): Stats | undefined => {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

/**
 * Empties a VMM's log that is too large. Firecracker writes it without O_APPEND, so that the file becomes sparse and keeps
 * its size.
 */
const boundVmmLog = (path: string) => Effect.ignore(withFile(path, () => truncate(path)))

/** A guest whose VMM does not answer may be paused for longer. */
export const noteIfResumed = ({ files, process }: WatchedLogs): Effect.Effect<void> =>
  Effect.flatMap(process.guestState, (state) => (state === "running" ? noteResumed(files) : Effect.void))

/**
 * Keeps the logs of running VMs within bounds, for ever. `onRotated` runs while the guest is paused, as soon as its log was
 * emptied.
 */
export const watchLogs = (options: {
  readonly running: () => Iterable<WatchedLogs>
  readonly logMaxSizeBytes: number
  readonly onRotated: (id: string) => void
  readonly scope: Scope.Scope
}): Effect.Effect<never> => {
  const { logMaxSizeBytes, onRotated, running, scope } = options

  const rotateLog = (vm: WatchedLogs) =>
    notePaused(vm.files).pipe(
      Effect.zipRight(vm.process.whilePaused(rotate(vm.files.consoleLog, () => onRotated(vm.id)))),
      Effect.ensuring(noteIfResumed(vm)),
      Effect.matchEffect({
        onSuccess: () => Effect.succeed(minRotationMillis),
        onFailure: ({ message }) =>
          Effect.as(Effect.logDebug(`the log of VM ${vm.id} was not rotated: ${message}`), rotationRetryMillis)
      }),
      Effect.flatMap((wait) =>
        Effect.map(Clock.currentTimeMillis, (now) =>
          Object.assign(vm, { size: 0, lookedAt: now, nextLookAt: now + wait, isRotating: false })
        )
      )
    )

  /** Looks less often at a log that does not grow, and before one that does can reach its limit. */
  const noteSize = (vm: WatchedLogs, size: number, now: number): void => {
    const elapsed = now - vm.lookedAt
    const untilLimit = ((logMaxSizeBytes - size) * elapsed) / Math.max(0, size - vm.size)
    const wait = Math.max(minLookMillis, Math.min(untilLimit / 2, elapsed * 2, maxLookMillis))
    vm.size = size
    vm.lookedAt = now
    // Idle VMs are looked at together, so that they wake nexusd once a second.
    const next = now + wait
    vm.nextLookAt = wait < maxTickMillis ? next : Math.ceil(next / maxTickMillis) * maxTickMillis
  }

  /** Returns what is to be done, if anything. */
  const look = (vm: WatchedLogs, now: number): Effect.Effect<unknown> | undefined => {
    const size = statsOf(vm.files.consoleLog)?.size ?? 0
    if (size >= logMaxSizeBytes) {
      vm.isRotating = true
      return Effect.forkIn(rotateLog(vm), scope)
    }
    noteSize(vm, size, now)
    return (statsOf(vm.files.vmmLog)?.blocks ?? 0) * 512 > maxVmmLogBytes ? boundVmmLog(vm.files.vmmLog) : undefined
  }

  const lookAtAll = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    let next = now + maxTickMillis
    for (const vm of running()) {
      if (vm.isRotating) continue
      if (vm.lookedAt === 0) vm.lookedAt = now
      const work = vm.nextLookAt <= now ? look(vm, now) : undefined
      if (work !== undefined) yield* work
      next = Math.min(next, vm.nextLookAt)
    }
    return Math.max(next - now, minLookMillis)
  })

  return Effect.forever(Effect.flatMap(lookAtAll, Effect.sleep))
}
