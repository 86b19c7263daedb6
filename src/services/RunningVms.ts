import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { DatabaseOpenError } from "./DatabaseOpenError.js"

/** The VMMs of this user on this host: their pids by the VM's id, in lower case. */
export type RunningVms = ReadonlyMap<string, number>

/** A record's fields that name it. */
export const NamedRecord = Schema.Struct({ id: Schema.String, name: Schema.String })

const maxNames = 10

/** Fails if a VM of a database runs on this host. */
export const assertNoneRuns = (
  database: string,
  records: ReadonlyArray<typeof NamedRecord.Type>,
  running: RunningVms
): Effect.Effect<void, DatabaseOpenError> => {
  const found = records.flatMap(({ id, name }) => {
    const pid = running.get(id.toLowerCase())
    return pid === undefined ? [] : [`${name} (pid ${pid})`]
  })
  if (found.length === 0) return Effect.void
  const more = found.length > maxNames ? ` and ${found.length - maxNames} more` : ""
  return new DatabaseOpenError({
    message: `VMs of ${database} run on this host, stop them first: ${found.slice(0, maxNames).join(", ")}${more}`
  })
}
