import { openSync, readdirSync, readFileSync } from "node:fs"

/** In the flags of /proc/self/fdinfo/N (proc_pid_fdinfo(5)). */
const closeOnExec = 0o2000000

const isKeptOnExec = (descriptor: number): boolean => {
  try {
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, "utf8"))?.[1]
    return flags !== undefined && (Number.parseInt(flags, 8) & closeOnExec) === 0
  } catch {
    return false
  }
}

let replacements: ReadonlyArray<"ignore" | number> | undefined

/**
 * The `stdio` of a child from descriptor 3 on. Those that this process inherited become /dev/null: Node.js passes on all but
 * the lowest (uv_disable_stdio_inheritance), and a VMM would hold another program's pipe or lock as long as it runs.
 */
export const inheritedAsNull = (): ReadonlyArray<"ignore" | number> => {
  replacements ??= (() => {
    const inherited = new Set(readdirSync("/proc/self/fd").map(Number).filter(isKeptOnExec))
    if (inherited.size === 0) return []
    const devNull = openSync("/dev/null", "r")
    const length = Math.max(...inherited) - 2
    return Array.from({ length }, (_, index) => (inherited.has(index + 3) ? devNull : "ignore"))
  })()
  return replacements
}
