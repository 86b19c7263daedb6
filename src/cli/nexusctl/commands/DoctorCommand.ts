import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { coloured } from "../../../runtime/Colour.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { CommandFailed } from "../daemon/CommandFailure.js"
import { outputOption, print } from "../output/Output.js"
import { type Check, doctorChecks } from "./DoctorChecks.js"

const lines = (checks: ReadonlyArray<Check>): ReadonlyArray<string> => {
  const column = Math.max(...checks.map(({ name }) => name.length))
  return checks.flatMap(({ fix, message, name, status }) => [
    `${status.padEnd(11)}  ${name.padEnd(column)}  ${message}`,
    ...(fix === undefined ? [] : [`${" ".repeat(column + 15)}Fix: ${fix}`])
  ])
}

const colours = { ok: "green", warning: "yellow", problem: "red" } as const

const statusStyle = (line: string): string =>
  line.replace(/^(ok|warning|problem)\b/, (word, status: keyof typeof colours) => coloured(colours[status], word))

/** `nexusctl doctor` */
export const doctorCommand = Command.make("doctor", { output: outputOption }, ({ output }) =>
  Effect.gen(function* () {
    const checks = yield* doctorChecks
    yield* print(output, { checks }, ({ checks }) => lines(checks), statusStyle)
    const problems = checks.filter(({ status }) => status === "problem")
    if (problems.length > 0) {
      return yield* new CommandFailed({
        lines: [`Error: ${problems.length} of ${checks.length} checks found a problem`],
        exitCode: ExitCode.failure
      })
    }
  })
).pipe(
  Command.withDescription("Check settings, daemon, database, files and what VMs need, and say how to fix each problem")
)
