import * as Schema from "effect/Schema"
import { boundedIntFromText, preview, strict } from "./Schemas.js"
import { type Vm, VmRole, VmState } from "./Vm.js"

/** Which records a list holds; a field that is not set does not filter. */
export const VmFilter = Schema.Struct({
  role: Schema.optionalWith(VmRole, { exact: true }),
  state: Schema.optionalWith(VmState, { exact: true })
}).annotations({ parseOptions: strict })
export type VmFilter = typeof VmFilter.Type

/** A record's place in a list: newest first, by `created_at`, then by the order in which records were inserted. */
export interface VmCursor {
  readonly created_at: number
  /** Goes up with each insert; a layer's own count. */
  readonly sequence: number
}

const VmCursor: Schema.Schema<VmCursor, string> = Schema.transform(
  Schema.String.pipe(
    Schema.pattern(/^-?\d{1,15}\.\d{1,15}$/, {
      message: ({ actual }) =>
        `${preview(actual)} is not a cursor: take the one in the Link header (rel="next") of the page before`
    })
  ),
  Schema.Struct({ created_at: Schema.Number, sequence: Schema.Number }),
  {
    strict: true,
    decode: (text) => {
      const [created_at, sequence] = text.split(".").map(Number)
      return { created_at: created_at ?? 0, sequence: sequence ?? 0 }
    },
    encode: ({ created_at, sequence }) => `${created_at}.${sequence}`
  }
).annotations({ description: 'Where the page begins: given by the Link header (rel="next") of the page before' })

/** A cursor as it stands in a URL. */
export const formatCursor = Schema.encodeSync(VmCursor)
export const parseCursor = Schema.decodeSync(VmCursor)

/** Which page of which records a list call asks for; without `limit` all of them. */
export const VmQuery = Schema.Struct({
  ...VmFilter.fields,
  limit: Schema.optionalWith(boundedIntFromText(1, 1000, "The most records to send; all of them when left out"), {
    exact: true
  }),
  cursor: Schema.optionalWith(VmCursor, { exact: true })
}).annotations({ parseOptions: strict })
export type VmQuery = typeof VmQuery.Type

/** The records that match a filter, from a cursor on. */
export interface VmSelection extends VmFilter {
  readonly cursor?: VmCursor
}

/** Which page a call asks for. */
export interface VmPageQuery extends VmSelection {
  /** Maximum number of records. */
  readonly limit: number
}

/** A page of records, newest first. */
export interface VmPage {
  readonly vms: ReadonlyArray<Vm>
  /** Where the next page begins, unless this is the last. */
  readonly next: VmCursor | undefined
}
