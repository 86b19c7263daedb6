import * as Schema from "effect/Schema"
import { preview } from "../domain/Schemas.js"

/** An entity tag (RFC 9110, 8.8.3). */
interface EntityTag {
  /** With its quotes. */
  readonly opaque: string
  readonly isWeak: boolean
}

/** An element of a list, which may be empty (RFC 9110, 5.6.1.2), and what separates it from the next. */
const element = /[ \t]*(?:(W\/)?("[!#-~\x80-\xff]*")[ \t]*)?(?:,|$)/y

/** Reads the value of an If-Match or If-None-Match header; returns `undefined` if it is malformed. */
export const parseEntityTags = (text: string): "*" | ReadonlyArray<EntityTag> | undefined => {
  if (text.trim() === "*") return "*"
  const tags: Array<EntityTag> = []
  for (let index = 0; index < text.length; index = element.lastIndex) {
    element.lastIndex = index
    const match = element.exec(text)
    if (match === null) return undefined
    const [, weak, opaque] = match
    if (opaque !== undefined) tags.push({ opaque, isWeak: weak !== undefined })
  }
  return tags.length === 0 ? undefined : tags
}

const tags = (description: string) =>
  Schema.optionalWith(
    Schema.String.pipe(
      Schema.filter((text) => parseEntityTags(text) !== undefined, {
        message: ({ actual }) =>
          `expected * or entity tags in double quotes, as in an ETag header, joined by commas, got ${preview(actual)}`,
        description,
        jsonSchema: {}
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
