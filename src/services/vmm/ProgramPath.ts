import { accessSync, constants, realpathSync, statSync } from "node:fs"
import * as Path from "node:path"

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** The path of a program that is named by its path, or by its name on the PATH. Undefined if it is not there. */
export const programPath = (program: string): string | undefined =>
  program.includes("/")
    ? isProgram(program)
      ? Path.resolve(program)
      : undefined
    : (process.env["PATH"] ?? "")
        .split(Path.delimiter)
        .filter(Path.isAbsolute)
        .map((folder) => Path.join(folder, program))
        .find(isProgram)

/** The path that /proc/PID/exe shows for a program. */
export const executablePath = (program: string): string | undefined => {
  const path = programPath(program)
  return path === undefined ? undefined : realpathSync(path)
}
