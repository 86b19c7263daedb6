import { join } from "node:path"
import { fileURLToPath } from "node:url"

export const projectFolder = fileURLToPath(new URL("../..", import.meta.url))

/** The programs as they are shipped. */
export const programs = {
  nexusd: join(projectFolder, "dist/nexusd.cjs"),
  nexusctl: join(projectFolder, "dist/nexusctl.cjs")
} as const
