import type * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

/** A schema's kind, description and bounds (`, 1 to 32`), from its annotations. */
export const schemaInfo = <A, I>({ ast }: Schema.Schema<A, I>) => {
  const encoded = ast._tag === "Transformation" ? ast.from : ast
  const json = Option.getOrElse(SchemaAST.getJSONSchemaAnnotation(encoded), (): object => ({}))
  return {
    isNumber: "type" in json && json.type === "integer",
    isList: encoded._tag === "TupleType",
    description: Option.getOrElse(SchemaAST.getDescriptionAnnotation(encoded), () => ""),
    bounds: "minimum" in json && "maximum" in json ? `, ${json.minimum} to ${json.maximum}` : ""
  }
}

/** Makes a decoder of text from an option or variable. The items of a list are separated by commas. */
export const decodeString = <A, I>(
  schema: Schema.Schema<A, I>
): ((text: string) => Either.Either<A, ParseResult.ParseError>) => {
  const decode = Schema.decodeUnknownEither(schema)
  const { isList, isNumber } = schemaInfo(schema)
  return (text) => {
    if (isList) return decode(text.split(",").map((item) => item.trim()))
    return decode(isNumber && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text)
  }
}
