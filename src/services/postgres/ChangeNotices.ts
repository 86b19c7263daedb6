import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { DeletedVm } from "../../domain/VmEvent.js"

/** A change of a record as daemons tell each other: they read the record themselves, since a payload holds 8,000 bytes. */
const Change = Schema.Union(
  Schema.TaggedStruct("written", { event: Schema.Literal("created", "updated"), id: Schema.String }),
  Schema.TaggedStruct("deleted", { vm: DeletedVm }),
  Schema.TaggedStruct("reset", {})
)
export type Change = typeof Change.Type
/** Records changed that can't be named one by one. */
export const reset: Change = { _tag: "reset" }

/** The payload of a notification. */
const Notice = Schema.Struct({
  /** The daemon that sent it. */
  from: Schema.String,
  changes: Schema.optionalWith(Schema.Array(Change), { exact: true }),
  /** The presence lock that the daemon holds from now on, or releases after it has sent all its changes. */
  joined: Schema.optionalWith(Schema.Int, { exact: true }),
  left: Schema.optionalWith(Schema.Int, { exact: true })
})
export type Notice = typeof Notice.Type

const decode = Schema.decodeUnknownEither(Schema.parseJson(Notice))
export const encode = Schema.encodeSync(Schema.parseJson(Notice))

/** Decodes a payload; one of another version is a reset. */
export const decodeNotice = (payload: string): Notice =>
  Either.getOrElse(decode(payload), () => ({ from: "another version", changes: [reset] }))

/** Less than PostgreSQL's limit of 8,000 bytes, with room for what stands around the changes. */
const maxBytes = 7_000

/** Payloads with these changes, in their order. */
export const payloadsOf = (from: string, changes: ReadonlyArray<Change>): ReadonlyArray<string> => {
  const batches: Array<Array<Change>> = []
  let bytes = maxBytes
  for (const change of changes) {
    const size = Buffer.byteLength(JSON.stringify(change)) + 1
    // The name of another program's record may be of any length.
    const [sent, sentSize] = size > maxBytes ? [reset, 20] : [change, size]
    bytes += sentSize
    if (bytes > maxBytes) {
      batches.push([])
      bytes = sentSize
    }
    batches.at(-1)?.push(sent)
  }
  return batches.map((batch) => encode({ from, changes: batch }))
}
