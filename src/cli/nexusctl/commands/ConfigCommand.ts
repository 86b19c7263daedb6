import { existsSync } from "node:fs"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { formatAddress } from "../../../domain/Address.js"
import { Daemon } from "../daemon/DaemonClient.js"
import { outputOption, print } from "../output/Output.js"

/** A setting as it is shown. One that is not set has no value. */
interface Shown {
  readonly value?: string | number
  /** The option, variable or key that it comes from. */
  readonly from: string
}

const lines = (settings: Readonly<Record<string, Shown>>): ReadonlyArray<string> => {
  const rows = [
    ["SETTING", "VALUE", "FROM"] as const,
    ...Object.entries(settings).map(([name, { from, value = "-" }]) => [name, String(value), from] as const)
  ]
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map(([name, value, from]) => `${name.padEnd(widths[0] ?? 0)}  ${value.padEnd(widths[1] ?? 0)}  ${from}`)
}

/** `nexusctl config` */
export const configCommand = Command.make("config", { output: outputOption }, ({ output }) =>
  Effect.gen(function* () {
    const { settings } = yield* Daemon
    const { context, daemon, file, timeoutSeconds, token } = yield* settings
    const shown: Readonly<Record<string, Shown>> = {
      config: { value: file.value, from: existsSync(file.value) ? file.source : `${file.source}, no such file` },
      context: context === undefined ? { from: "default" } : { value: context.value, from: context.source },
      daemon: { value: formatAddress(daemon.value), from: daemon.source },
      token: token === undefined ? { from: "default" } : { value: token.value ?? "(not shown)", from: token.source },
      timeout: { value: timeoutSeconds.value, from: timeoutSeconds.source }
    }
    yield* print(output, shown, lines)
  })
).pipe(Command.withDescription("Show each setting, its value, and the option, variable or key that it comes from"))
