import * as Schema from "effect/Schema"
import { boundedInt, boundedIntFromText, preview, strict } from "./Schemas.js"
import { VmState } from "./Vm.js"

const ifSet = <A, I>(schema: Schema.Schema<A, I>) => Schema.optionalWith(schema, { exact: true })

/** The longest timeout of a stop, in seconds. */
export const maxStopSeconds = 600

/** How long a stop waits for the guest, in seconds. */
export const StopTimeout = boundedInt(0, maxStopSeconds, "Seconds that the guest has to stop before its VMM is killed")

/** How a VM is stopped. Without `timeout_s` the setting `vm.stop_timeout` holds. */
export const StopVm = Schema.Struct({
  force: ifSet(Schema.Boolean.annotations({ description: "Kill the VMM at once, without asking the guest" })),
  timeout_s: ifSet(StopTimeout),
  host_lost: ifSet(
    Schema.Boolean.annotations({
      description: "The VM's host will not come back: make the VM `crashed` without touching a process"
    })
  )
}).annotations({ identifier: "StopVm", description: "How to stop a VM", parseOptions: strict })
export type StopVm = typeof StopVm.Type

/** How many of the last lines of a log are sent by default. */
export const logTailDefault = 100
const logTailRange = [0, 10_000, "How many of the last lines"] as const
/** How many of the last lines of a log to send, 0 to 10000. */
export const LogTail = boundedInt(...logTailRange)

/** How long a wait lasts by default, in seconds. */
export const waitTimeoutDefault = 60
const waitTimeoutRange = [1, 600, "Seconds to wait"] as const
/** How long a wait may last, 1 to 600 seconds. */
export const WaitTimeoutSeconds = boundedInt(...waitTimeoutRange)

/** Which part of a console log. */
export const LogsQuery = Schema.Struct({
  tail: ifSet(boundedIntFromText(...logTailRange, logTailDefault)),
  follow: ifSet(
    Schema.Literal("true", "false").annotations({
      message: ({ actual }) => ({ message: `expected true or false, got ${preview(actual)}`, override: true }),
      description: "Send what the guest prints until the VM stops"
    })
  )
}).annotations({ parseOptions: strict })

const stateWord = `(${VmState.literals.join("|")})`

/** States separated by commas. */
const States = Schema.transform(
  Schema.String.pipe(
    Schema.pattern(new RegExp(`^${stateWord}(,${stateWord})*$`), {
      message: ({ actual }) =>
        `expected states out of ${VmState.literals.join(", ")}, joined by commas, got ${preview(actual)}`,
      description: `States joined by commas, out of ${VmState.literals.join(", ")}`
    })
  ),
  Schema.Array(Schema.String),
  { strict: true, decode: (text) => text.split(","), encode: (states) => states.join(",") }
)

/** Which states to wait for. */
export const WaitQuery = Schema.Struct({
  state: States,
  timeout_s: ifSet(boundedIntFromText(...waitTimeoutRange, waitTimeoutDefault))
}).annotations({ parseOptions: strict })
