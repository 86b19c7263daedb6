import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { printLines } from "../../runtime/StandardStreams.js"
import { DatabaseOpenError } from "../../services/DatabaseOpenError.js"
import { formatTarget, parseTarget } from "../../services/DatabaseTarget.js"
import { migrate } from "../../services/transfer/Transfer.js"
import { progress } from "../runner/Progress.js"
import { runningVms } from "./RootCommand.js"

const database = (name: "from" | "to", description: string) =>
  Options.text(name).pipe(Options.withPseudoName("PATH|URL"), Options.withDescription(description))

const parse = (name: "from" | "to", text: string) =>
  Either.mapLeft(parseTarget(text), (problem) => new DatabaseOpenError({ message: `--${name}: ${problem}` }))

/** `nexusd migrate`. */
export const migrateCommand = Command.make(
  "migrate",
  {
    from: database("from", "The database to copy, a path or a postgres:// URL, which stays as it is"),
    to: database("to", "The database to fill, a path or a postgres:// URL, which must be empty or not exist yet")
  },
  ({ from, to }) =>
    Effect.gen(function* () {
      const source = yield* parse("from", from)
      const target = yield* parse("to", to)
      const running = yield* runningVms
      const vms = yield* Effect.scoped(
        Effect.flatMap(progress, (onProgress) => migrate(source, target, onProgress, running))
      )
      yield* printLines([`Migrated ${vms} VMs from ${formatTarget(source)} to ${formatTarget(target)}`])
    })
).pipe(
  Command.withDescription(
    "Copy all records into another database, whole or not at all. Stop the nexusd of the source first: what it writes after this has begun is not carried over"
  )
)
