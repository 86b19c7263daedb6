import { closeSync, fstatSync, lstatSync, readSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { type FileRefused, refused, withFile } from "./FileRefused.js"
import { openForReading } from "./VmFolder.js"

/** The one older file, with what the log held before its last rotation. */
export const rotatedPath = (consoleLog: string): string => `${consoleLog}.1`

/** A part of a file. */
interface Segment {
  readonly descriptor: number
  position: number
  /** Undefined: as far as the file goes, which grows. */
  end: number | undefined
}

/** Reads a console log in order, byte for byte, also over rotations. */
export interface LogReader {
  /** The next bytes; undefined if there are none now. Throws `FileRefused` once bytes were lost. */
  readonly read: () => Uint8Array | undefined
  /** Called by the rotation, while the guest is paused. Never throws: the next `read` does. */
  readonly noticeRotation: () => void
  /** The VM has ended: what the log holds now is all there is to read. */
  readonly finish: () => void
  readonly isFinished: () => boolean
  readonly close: () => void
}

const chunkBytes = 64 * 1024
const newline = 10

/** A rotated file that this reader still has to read keeps its place on the disk. */
const maxRotationsBehind = 8

/** The least time between two rotations of a log. */
export const minRotationMillis = 250

const readAt = (descriptor: number, position: number, length: number): Buffer => {
  const bytes = Buffer.allocUnsafe(length)
  return bytes.subarray(0, readSync(descriptor, bytes, 0, length, position))
}

/** Where the last `lines` lines of a file begin, and how many lines it lacks. */
const tailOf = (descriptor: number, size: number, lines: number, isLastFile: boolean) => {
  if (lines === 0) return { position: size, missing: 0 }
  let missing = lines
  let end = size
  while (end > 0) {
    const start = Math.max(0, end - chunkBytes)
    const bytes = readAt(descriptor, start, end - start)
    let index = bytes.length
    // The last byte ends the last line, and begins none.
    if (isLastFile && end === size) index -= 1
    while (index > 0) {
      index = bytes.lastIndexOf(newline, index - 1)
      if (index < 0) break
      missing -= 1
      if (missing === 0) return { position: start + index + 1, missing }
    }
    end = start
  }
  return { position: 0, missing }
}

/** Tells a rotated file from the next one. A change of its mode or links does not count. */
const identityOf = (path: string): string | undefined => {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  return stats && `${stats.dev}:${stats.ino}:${stats.mtimeNs}`
}

const sizeOf = (descriptor: number): number => fstatSync(descriptor).size

const lost = (path: string) => refused(path, "was rotated faster than it was read: follow it again")

/**
 * Opens a console log at its last `tail` lines. `isNotified` says that this process rotates the log, and calls
 * `noticeRotation`. Else another daemon may rotate it, which is noticed by the file that a rotation leaves; the guest is
 * paused from before the log is emptied until after that file has its name.
 */
export const openReader = (consoleLog: string, tail: number, isNotified: boolean): LogReader => {
  const rotated = rotatedPath(consoleLog)
  const segments: Array<Segment> = []
  const closeAll = () => {
    for (const { descriptor } of segments.splice(0)) closeSync(descriptor)
  }

  let failure: unknown
  const current: Segment = { descriptor: openForReading(consoleLog), position: 0, end: undefined }
  let known: string | undefined
  let lookedAt = Date.now()
  const begin = (): void => {
    known = identityOf(rotated)
    const { missing, position } = tailOf(current.descriptor, sizeOf(current.descriptor), tail, true)
    current.position = position
    if (missing > 0 && known !== undefined) {
      const descriptor = openForReading(rotated)
      const end = sizeOf(descriptor)
      const older = tailOf(descriptor, end, missing, sizeOf(current.descriptor) === 0)
      segments.push({ descriptor, position: older.position, end })
    }
    // Another daemon has rotated meanwhile.
    if (identityOf(rotated) !== known) {
      closeAll()
      begin()
    }
  }

  const noticeRotation = (): void => {
    const last = lookedAt
    lookedAt = Date.now()
    const found = identityOf(rotated)
    if (found === known) return
    const descriptor = openForReading(rotated)
    const { mtimeMs, size } = fstatSync(descriptor)
    segments.push({ descriptor, position: current.position, end: current.end ?? size })
    if (size < current.position || (!isNotified && mtimeMs - last > minRotationMillis)) throw lost(consoleLog)
    known = found
    current.position = 0
    // All that was to be read is in the rotated file.
    if (current.end !== undefined) current.end = 0
  }

  const read = (): Uint8Array | undefined => {
    for (;;) {
      if (failure !== undefined) throw failure
      if (segments.length > maxRotationsBehind) throw lost(consoleLog)
      const [segment = current] = segments
      const rest = (segment.end ?? Number.POSITIVE_INFINITY) - segment.position
      const bytes = rest > 0 ? readAt(segment.descriptor, segment.position, Math.min(rest, chunkBytes)) : Buffer.of()
      if (segment !== current) {
        segment.position += bytes.length
        if (bytes.length > 0) return bytes
        segments.shift()
        closeSync(segment.descriptor)
        continue
      }
      noticeRotation()
      // The bytes may be of the log after its rotation.
      if (segments.length > 0) continue
      current.position += bytes.length
      return bytes.length > 0 ? bytes : undefined
    }
  }

  const close = () => {
    closeAll()
    closeSync(current.descriptor)
  }
  try {
    begin()
  } catch (error) {
    close()
    throw error
  }
  return {
    read,
    noticeRotation: () => {
      try {
        if (segments.length <= maxRotationsBehind) noticeRotation()
      } catch (error) {
        failure = error
      }
    },
    finish: () => {
      current.end ??= sizeOf(current.descriptor)
    },
    isFinished: () => current.end !== undefined && segments.length === 0 && current.position >= current.end,
    close
  }
}

const minPollMillis = 10
const maxPollMillis = 500

/**
 * The bytes of a reader until `finish` was called, and all is read. Looks for new ones after 10 ms, and less often, down to
 * twice a second, while there are none.
 */
export const streamOf = (consoleLog: string, reader: LogReader): Stream.Stream<Uint8Array, FileRefused> => {
  const pull = (pollMillis: number): Effect.Effect<Uint8Array, Option.Option<FileRefused>> =>
    Effect.flatMap(Effect.mapError(withFile(consoleLog, reader.read), Option.some), (bytes) => {
      if (bytes !== undefined) return Effect.succeed(bytes)
      if (reader.isFinished()) return Effect.fail(Option.none())
      return Effect.delay(
        Effect.suspend(() => pull(Math.min(pollMillis * 2, maxPollMillis))),
        pollMillis
      )
    })
  return Stream.repeatEffectOption(pull(minPollMillis))
}
