import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs"
import { join } from "node:path"
import { folder } from "./processes.mjs"
import { median } from "./statistics.mjs"

/** Milliseconds for one fdatasync after an append of 4 KiB: the least that a durable write costs on this disk. */
export const timeFsync = () => {
  const file = openSync(join(folder, "fsync"), "a")
  const page = Buffer.alloc(4096, 1)
  const times = Array.from({ length: 100 }, () => {
    writeSync(file, page)
    const begun = performance.now()
    fdatasyncSync(file)
    return performance.now() - begun
  })
  closeSync(file)
  return median(times)
}
