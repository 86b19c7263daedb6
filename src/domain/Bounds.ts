import * as Schema from "effect/Schema"

/** A value as an error message shows it: JSON, cut to what a person reads. */
export const show = (value: unknown): string => cut(toText(value), 80)

/** No more of a text than `length` characters. */
export const cut = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text

const toText = (value: unknown): string => {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    // Nested too deep, or a bigint.
    return typeof value
  }
}

/** A whole number within `min`..`max`, both included. The bounds reach the OpenAPI document and the error message. */
export const boundedInt = (min: number, max: number, description: string) =>
  Schema.Number.annotations({
    message: ({ actual }) => `expected a whole number from ${min} to ${max}, got ${show(actual)}`
  }).pipe(
    Schema.filter((n) => Number.isInteger(n) && n >= min && n <= max, {
      message: ({ actual }) => `expected a whole number from ${min} to ${max}, got ${show(actual)}`,
      description,
      jsonSchema: { type: "integer", minimum: min, maximum: max, description }
    })
  )

/** One of a closed set of words. */
export const oneOf = <const L extends readonly [string, ...Array<string>]>(literals: L, description: string) =>
  Schema.Literal(...literals).annotations({
    message: ({ actual }) => ({
      message: `expected one of ${literals.join(", ")}, got ${show(actual)}`,
      override: true
    }),
    description
  })
