import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs"

const tailBytes = 64 * 1024

/**
 * The last lines of a VMM's log, none if it can't be read. A log that was truncated while its VMM wrote it begins with
 * zeros.
 */
export const readLogTail = (path: string): ReadonlyArray<string> => {
  try {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const stats = fstatSync(descriptor)
      if (!stats.isFile()) return []
      const bytes = Buffer.alloc(Math.min(stats.size, tailBytes))
      const length = readSync(descriptor, bytes, 0, bytes.length, stats.size - bytes.length)
      const text = bytes.toString("utf8", 0, length).replaceAll("\0", "")
      return text.split("\n").filter((line) => line !== "")
    } finally {
      closeSync(descriptor)
    }
  } catch {
    return []
  }
}
