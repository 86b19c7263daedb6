import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

/** A value for an error message: JSON of at most 80 characters. */
export const preview = (value: unknown): string => truncate(toText(value), 80)

/** Cuts a text to `length` characters. */
export const truncate = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text

const toText = (value: unknown): string => {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    // Nested too deep, or a bigint.
    return typeof value
  }
}

const isWithin = (min: number, max: number) => (n: number) => Number.isInteger(n) && n >= min && n <= max

/** The error message, and the OpenAPI document's schema. */
const boundedAnnotations = (min: number, max: number, description: string, fallback?: number) => ({
  message: ({ actual }: { readonly actual: unknown }) =>
    `expected a whole number from ${min} to ${max}, got ${preview(actual)}`,
  description,
  jsonSchema: {
    type: "integer",
    minimum: min,
    maximum: max,
    description,
    ...(fallback !== undefined && { default: fallback })
  }
})

/** A whole number from `min` to `max`. */
export const boundedInt = (min: number, max: number, description: string) => {
  const annotations = boundedAnnotations(min, max, description)
  return Schema.Number.annotations({ message: annotations.message }).pipe(
    Schema.filter(isWithin(min, max), annotations)
  )
}

/** A whole number of any size. `Schema.Int` would put its title, "int", into the OpenAPI document. */
export const wholeNumber = (description: string) =>
  Schema.Number.pipe(
    Schema.filter(Number.isSafeInteger, {
      message: ({ actual }) => `expected a whole number, got ${preview(actual)}`,
      description,
      jsonSchema: { type: "integer", description },
      arbitrary: () => (fc) => fc.maxSafeInteger()
    })
  )

/** A bounded whole number in decimal digits, as in a URL. `fallback` documents what leaving it out means. */
export const boundedIntFromText = (min: number, max: number, description: string, fallback?: number) =>
  Schema.transform(
    Schema.String.pipe(
      Schema.filter(
        (text) => /^\d+$/.test(text) && isWithin(min, max)(Number(text)),
        boundedAnnotations(min, max, description, fallback)
      )
    ),
    Schema.Number,
    { strict: true, decode: Number, encode: String }
  )

/** One of a closed set of words. */
export const literals = <const L extends readonly [string, ...Array<string>]>(literals: L, description: string) =>
  Schema.Literal(...literals).annotations({
    message: ({ actual }) => ({
      message: `expected one of ${literals.join(", ")}, got ${preview(actual)}`,
      override: true
    }),
    description
  })

/** Input with an unknown field fails instead of losing it; every bad field is reported, not only the first. */
export const strict = { onExcessProperty: "error", errors: "all" } as const

/** A JSON Schema given by hand does not take the default up by itself. */
const withJsonDefault = <A, I>({ ast }: Schema.Schema<A, I>, value: A) =>
  Option.match(SchemaAST.getJSONSchemaAnnotation(ast), {
    onNone: () => ({}),
    onSome: (jsonSchema) => ({ jsonSchema: { ...jsonSchema, default: value } })
  })

/** A field that may be left out, and then has a value. */
export const withDefault = <A extends string | number, I>(schema: Schema.Schema<A, I>, value: NoInfer<A>) =>
  Schema.optionalWith(schema.annotations({ default: value, ...withJsonDefault(schema, value) }), {
    exact: true,
    default: () => value
  }).pipe(Schema.withConstructorDefault(() => value))
