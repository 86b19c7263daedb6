import type * as Either from "effect/Either"
import * as JSONSchema from "effect/JSONSchema"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

/** What a schema says of itself: whether it is a number or a list, its description and its bounds. */
export const factsOf = <A, I>(schema: Schema.Schema<A, I>) => {
  const json = JSONSchema.make(schema)
  const type = "type" in json ? json.type : undefined
  return {
    isNumber: type === "integer" || type === "number",
    isList: type === "array",
    description: "description" in json ? `${json.description}` : "",
    bounds: "minimum" in json && "maximum" in json ? `, ${json.minimum} to ${json.maximum}` : ""
  }
}

/** Decodes what a person typed where only text can stand; the items of a list are parted by commas. */
export const decodeText = <A, I>(
  schema: Schema.Schema<A, I>
): ((text: string) => Either.Either<A, ParseResult.ParseError>) => {
  const decode = Schema.decodeUnknownEither(schema)
  const { isList, isNumber } = factsOf(schema)
  return (text) => {
    if (isList) return decode(text.split(",").map((item) => item.trim()))
    return decode(isNumber && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text)
  }
}
