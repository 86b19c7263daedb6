import { readFileSync, writeFileSync } from "node:fs"

/**
 * @param {number} pid
 * @param {string} field
 */
const status = (pid, field) => {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))
  return Number(found?.[1]) * 1024
}

/**
 * The resident memory of a process, in bytes.
 *
 * @param {number} pid
 */
export const memory = (pid) => status(pid, "VmRSS")

/**
 * Resets the peak of a process's memory; the function returned reads it, in bytes.
 *
 * @param {number} pid
 */
export const watchPeak = (pid) => {
  // proc(5): resets VmHWM to the present VmRSS.
  writeFileSync(`/proc/${pid}/clear_refs`, "5")
  return () => status(pid, "VmHWM")
}

/**
 * Milliseconds of CPU that all threads of a process have used, in steps of 10.
 *
 * @param {number} pid
 */
export const cpuTime = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}
