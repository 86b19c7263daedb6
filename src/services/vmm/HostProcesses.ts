import { readFileSync, readlinkSync } from "node:fs"
import type { HostProcess } from "../../domain/VmRun.js"

/** What /proc/PID/stat says (proc_pid_stat(5)). */
interface ProcessStat {
  readonly state: string
  readonly startTime: number
}

/** Undefined for a file that can't be read: processes end at any time. */
const readProc = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

/** The command's name, field 2, is in parentheses, and may hold spaces and parentheses. */
export const parseStat = (text: string): ProcessStat => {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
  return { state: fields[0] ?? "", startTime: Number(fields[19]) }
}

/** The process that has a pid now. Undefined if there is none, or a dead one that its parent did not wait for. */
export const hostProcess = (pid: number): HostProcess | undefined => {
  const text = readProc(`/proc/${pid}/stat`)
  if (text === undefined) return undefined
  const { startTime, state } = parseStat(text)
  return state === "Z" || state === "X" ? undefined : { pid, start_time: startTime }
}

/** Whether a process runs: its pid alone may be another's by now. */
export const isRunning = ({ pid, start_time }: HostProcess): boolean => hostProcess(pid)?.start_time === start_time

/** The argument list of a process, its program first. */
export const processArguments = (pid: number): ReadonlyArray<string> =>
  readProc(`/proc/${pid}/cmdline`)?.split("\0") ?? []

/** This process, and where its pid and start time hold. */
export const thisProcess = (): HostProcess => ({
  pid: process.pid,
  start_time: parseStat(readFileSync("/proc/self/stat", "utf8")).startTime
})

/** Another one after each boot. */
export const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()

/** The namespace in which this process's pids hold (pid_namespaces(7)). */
export const pidNamespace = (): string => readlinkSync("/proc/self/ns/pid")
