import * as Schema from "effect/Schema"

/** A value as an error message shows it: JSON, cut to what a person reads. */
export const preview = (value: unknown): string => truncate(toText(value), 80)

/** No more of a text than `length` characters. */
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

/** What a schema of bounded whole numbers says of itself: the OpenAPI document and the error message come from here. */
const boundedAnnotations = (min: number, max: number, description: string) => ({
  message: ({ actual }: { readonly actual: unknown }) =>
    `expected a whole number from ${min} to ${max}, got ${preview(actual)}`,
  description,
  jsonSchema: { type: "integer", minimum: min, maximum: max, description }
})

/** A whole number within `min`..`max`, both included. */
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

/** The same where only text can stand, as in a URL. */
export const boundedIntFromText = (min: number, max: number, description: string) =>
  Schema.transform(
    Schema.String.pipe(
      Schema.filter(
        (text) => /^\d+$/.test(text) && isWithin(min, max)(Number(text)),
        boundedAnnotations(min, max, description)
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
