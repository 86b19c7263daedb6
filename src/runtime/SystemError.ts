import { getSystemErrorMap } from "node:util"

/** The operating system's words for an error of Node.js, such as `permission denied`. */
export const systemErrorMessage = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  const number = "errno" in error && typeof error.errno === "number" ? error.errno : 0
  return getSystemErrorMap().get(number)?.[1] ?? error.message
}
