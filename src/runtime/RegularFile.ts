import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats, statSync } from "node:fs"
import * as Path from "node:path"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { systemErrorMessage } from "./SystemError.js"

/** A file can't be read. `reason` holds neither the path nor the content. */
class FileReadError extends Data.TaggedError("FileReadError")<{
  readonly reason: string
  /** Nothing is at the path. False for a symbolic link to a missing file. */
  readonly isAbsent: boolean
}> {}

const fail = (reason: string) => new FileReadError({ reason, isAbsent: false })

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code

/** Whether nothing is at the path. False if a part of the path is a symbolic link to a missing file. */
const isAbsent = (path: string): boolean => {
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return false
  const parent = Path.dirname(path)
  return parent === path || statSync(parent, { throwIfNoEntry: false }) !== undefined || isAbsent(parent)
}

const toReadError = (path: string) => (error: unknown) => {
  if (error instanceof FileReadError) return error
  if (hasCode(error, "ENOTDIR")) return new FileReadError({ reason: "no such file", isAbsent: true })
  if (!hasCode(error, "ENOENT")) return fail(systemErrorMessage(error))
  return isAbsent(Path.resolve(path))
    ? new FileReadError({ reason: "no such file", isAbsent: true })
    : fail("a symbolic link leads to a file that does not exist")
}

const kindOf = (stats: Stats): string => {
  if (stats.isDirectory()) return "a directory"
  if (stats.isFIFO()) return "a FIFO"
  return stats.isSocket() ? "a socket" : "a device"
}

const assertRegular = (stats: Stats): void => {
  if (!stats.isFile()) throw fail(`expected a regular file, found ${kindOf(stats)}`)
}

const readAll = (descriptor: number, maxBytes: number): Buffer => {
  const bytes = Buffer.allocUnsafe(maxBytes + 1)
  let length = 0
  while (length <= maxBytes) {
    const count = readSync(descriptor, bytes, length, bytes.length - length, null)
    if (count === 0) return bytes.subarray(0, length)
    length += count
  }
  throw fail(`larger than ${maxBytes} bytes`)
}

const decodeUtf8 = (bytes: Buffer): string => {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw fail("not UTF-8 text")
  }
}

/**
 * Reads a text file of at most `maxBytes`, and its mode. Fails for anything but a regular file: it waits for no writer of
 * a FIFO, and opens no device, which could change the state of the device.
 */
export const readRegularFile = (path: string, maxBytes: number) =>
  Effect.try({
    try: () => {
      assertRegular(statSync(path))
      const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
      try {
        // The path may lead to another file since.
        const stats = fstatSync(descriptor)
        assertRegular(stats)
        return { text: decodeUtf8(readAll(descriptor, maxBytes)), mode: stats.mode }
      } finally {
        closeSync(descriptor)
      }
    },
    catch: toReadError(path)
  })
