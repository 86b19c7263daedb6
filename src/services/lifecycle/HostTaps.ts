import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import type { NetworkInterface } from "../../domain/VmConfig.js"
import { FileRefused, withFile } from "./FileRefused.js"

/** The interfaces of this process's network namespace: /sys/class/net may be another's (proc_pid_net(5)). */
const interfacesFile = "/proc/self/net/dev"

/** Two lines of headings, then `NAME: COUNTERS`. */
export const interfaceNames = (text: string): ReadonlySet<string> =>
  new Set(
    text
      .split("\n")
      .slice(2)
      .map((line) => line.slice(0, line.indexOf(":")).trim())
  )

/** Fails unless the taps exist: for root a VMM makes one that is missing, which is connected to nothing. */
export const assertTapsExist = (interfaces: ReadonlyArray<NetworkInterface>): Effect.Effect<void, FileRefused> => {
  if (interfaces.length === 0) return Effect.void
  return Effect.flatMap(
    withFile(interfacesFile, () => interfaceNames(readFileSync(interfacesFile, "utf8"))),
    (names) => {
      const missing = interfaces.find(({ host_dev_name }) => !names.has(host_dev_name))?.host_dev_name
      if (missing === undefined) return Effect.void
      const message = `tap '${missing}' does not exist on this host: make it first, with "ip tuntap add"`
      return new FileRefused({ message })
    }
  )
}
