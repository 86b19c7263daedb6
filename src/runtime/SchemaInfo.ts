import type * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

/** A schema's kind, description and bounds (`, 1 to 32`), from its annotations. */
export const schemaInfo = ({ ast }: Schema.Schema.All) => {
  const encoded = ast._tag === "Transformation" ? ast.from : ast
  const json = Option.getOrElse(SchemaAST.getJSONSchemaAnnotation(encoded), (): object => ({}))
  return {
    isNumber: "type" in json && json.type === "integer",
    isList: encoded._tag === "TupleType",
    description: Option.getOrElse(SchemaAST.getDescriptionAnnotation(encoded), () => ""),
    bounds: "minimum" in json && "maximum" in json ? `, ${json.minimum} to ${json.maximum}` : ""
  }
}

/** The value that a schema decodes, from the text of an option or variable. The items of a list are separated by commas. */
export const valueFromText = (schema: Schema.Schema.All, text: string): unknown => {
  const { isList, isNumber } = schemaInfo(schema)
  if (isList) return text.split(",").map((item) => item.trim())
  return isNumber && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
}

/** Makes a decoder of text from an option. */
export const decodeString = <A, I>(
  schema: Schema.Schema<A, I>
): ((text: string) => Either.Either<A, ParseResult.ParseError>) => {
  const decode = Schema.decodeUnknownEither(schema)
  return (text) => decode(valueFromText(schema, text))
}
