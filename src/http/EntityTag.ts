import * as Schema from "effect/Schema"
import { preview } from "../domain/Schemas.js"

/** An entity tag (RFC 9110, 8.8.3). */
interface EntityTag {
  /** With its quotes. */
  readonly opaque: string
  readonly isWeak: boolean
}

const tag = /(W\/)?("[!#-~\x80-\xff]*")/g

/** `*`, or a list of tags, of which elements may be empty (RFC 9110, 5.6.1.2). */
const headerValue = new RegExp(
  `^[ \\t]*\\*[ \\t]*$|^(?:[ \\t]*,)*[ \\t]*${tag.source}[ \\t]*(?:,[ \\t]*(?:${tag.source}[ \\t]*)?)*$`
)

/** Reads the value of an If-Match or If-None-Match header; returns `undefined` if it is malformed. */
export const parseEntityTags = (text: string): "*" | ReadonlyArray<EntityTag> | undefined => {
  if (!headerValue.test(text)) return undefined
  if (text.trim() === "*") return "*"
  return Array.from(text.matchAll(tag), ([, weak, opaque = ""]) => ({ opaque, isWeak: weak !== undefined }))
}

const tags = (description: string) =>
  Schema.optionalWith(
    Schema.String.pipe(
      Schema.filter((text) => parseEntityTags(text) !== undefined, {
        message: ({ actual }) =>
          `expected * or entity tags in double quotes, as in an ETag header, joined by commas, got ${preview(actual)}`,
        description,
        jsonSchema: { type: "string", format: "entity-tags", description }
      })
    ),
    { exact: true }
  )

/** The headers of a conditional request (RFC 9110, 13.1). */
export const Preconditions = Schema.Struct({
  "if-match": tags("Entity tags, one of which the record must have, or * for any record: 412 otherwise"),
  "if-none-match": tags("Entity tags, none of which the record may have, or * for no record: 412 otherwise, 304 to GET")
})
export type Preconditions = typeof Preconditions.Type
