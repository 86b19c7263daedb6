import * as Args from "@effect/cli/Args"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { OutputFailed } from "../../../runtime/StandardStreams.js"
import { reportFailure } from "../../runner/Failure.js"
import { schemaArgument } from "../../runner/SchemaOption.js"
import { CommandFailed } from "../daemon/CommandFailure.js"

/** One VM. */
export const nameOrId = schemaArgument(
  "NAME|ID",
  Schema.NonEmptyString.annotations({ description: "The VM's name or id" })
)

/** One or several VMs. */
export const namesOrIds = Args.atLeast(nameOrId, 1)

/** How many VMs are started or stopped side by side. */
const maxConcurrency = 64

/**
 * Does the same with each VM, and prints the outcomes in the order of the names. A failure does not keep the others from
 * being tried; the command fails with the exit code of the first one.
 */
export const forEachVm = <Vm, A, R = never>(
  vms: ReadonlyArray<Vm>,
  attempt: (vm: Vm) => Effect.Effect<A, CommandFailed, R>,
  print: (success: A, index: number) => Effect.Effect<void, OutputFailed>,
  options?: { readonly sideBySide: boolean }
): Effect.Effect<void, CommandFailed | OutputFailed, R> =>
  Effect.gen(function* () {
    const failures: Array<CommandFailed> = []
    yield* Stream.fromIterable(vms).pipe(
      Stream.mapEffect((vm) => Effect.either(attempt(vm)), { concurrency: options?.sideBySide ? maxConcurrency : 1 }),
      Stream.zipWithIndex,
      Stream.runForEach(([outcome, index]) => {
        if (Either.isRight(outcome)) return print(outcome.right, index)
        const { lines } = outcome.left
        const isRepeated = failures.at(-1)?.lines.join("\n") === lines.join("\n")
        failures.push(outcome.left)
        // A daemon that can't be reached is reported once.
        return isRepeated ? Effect.void : reportFailure(outcome.left)
      })
    )
    const [first] = failures
    if (first !== undefined) return yield* new CommandFailed({ lines: [], exitCode: first.exitCode })
  })
