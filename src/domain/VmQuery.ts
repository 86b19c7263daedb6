import * as Schema from "effect/Schema"
import { boundedIntFromText, preview, strict } from "./Schemas.js"
import { type Vm, VmRole, VmState } from "./Vm.js"

/** How a VM's name begins. Names of other daemons' records may hold any character but NUL. */
export const NamePrefix = Schema.String.pipe(
  Schema.filter((text) => text.length >= 1 && text.length <= 255 && !text.includes("\0"), {
    message: ({ actual }) => `expected the beginning of a name, 1 to 255 characters, got ${preview(actual)}`,
    description: "How the names begin",
    jsonSchema: { type: "string", minLength: 1, maxLength: 255 }
  })
)

/** Which records a list holds; a field that is not set does not filter. */
export const VmFilter = Schema.Struct({
  role: Schema.optionalWith(VmRole, { exact: true }),
  state: Schema.optionalWith(VmState, { exact: true }),
  name_prefix: Schema.optionalWith(NamePrefix, { exact: true })
}).annotations({ parseOptions: strict })
export type VmFilter = typeof VmFilter.Type

/** Whether a record matches a filter. */
export const matchesFilter =
  ({ name_prefix, role, state }: VmFilter) =>
  (vm: Vm): boolean =>
    (role ?? vm.role) === vm.role && (state ?? vm.state) === vm.state && vm.name.startsWith(name_prefix ?? "")

/**
 * The names that begin with `prefix`, in the order of code points, which is that of UTF-8 bytes: from `prefix` to before
 * `end`, or without end.
 */
export const prefixRange = (prefix: string): { readonly start: string; readonly end: string | undefined } => {
  const points = Array.from(prefix, (character) => character.codePointAt(0) ?? 0)
  while (points.at(-1) === 0x10ffff) points.pop()
  const last = points.pop()
  if (last === undefined) return { start: prefix, end: undefined }
  // Surrogates are no characters.
  const next = last === 0xd7ff ? 0xe000 : last + 1
  return { start: prefix, end: String.fromCodePoint(...points, next) }
}

/** A record's place in a list: newest first, by `created_at`, then by the order in which records were inserted. */
export interface VmCursor {
  readonly created_at: number
  /** Goes up with each insert; a layer's own count. */
  readonly sequence: number
}

export const VmCursor: Schema.Schema<VmCursor, string> = Schema.transform(
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
/** Reads a cursor from a URL. Throws a `ParseError`. */
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
