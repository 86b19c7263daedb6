import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Either from "effect/Either"
import type * as Schema from "effect/Schema"
import { formatParseError } from "../../runtime/ConfigFile.js"
import { decodeString, schemaInfo } from "../../runtime/SchemaInfo.js"

const decoder = <A, I>(parameter: string, schema: Schema.Schema<A, I>) => {
  const decode = decodeString(schema)
  return (text: string) =>
    Either.mapLeft(decode(text), (error) => HelpDoc.p(`${parameter}: ${formatParseError(error)}`))
}

/**
 * An option with the type, bounds and help of a schema. The error names the option, the given value and the expected
 * one.
 */
export const schemaOption = <A, I>(
  flag: string,
  placeholder: string,
  schema: Schema.Schema<A, I>,
  fallback?: NoInfer<A>,
  fallbackText = String(fallback)
): Options.Options<A> => {
  const { bounds, description } = schemaInfo(schema)
  const decode = decoder(`option --${flag}`, schema)
  const otherwise = fallbackText === "undefined" ? "" : ` (default: ${fallbackText})`
  return Options.text(flag).pipe(
    Options.withPseudoName(placeholder),
    Options.withDescription(`${description}${bounds}${otherwise}`),
    Options.mapEffect((text) => Either.mapLeft(decode(text), ValidationError.invalidValue)),
    (option) => (fallback === undefined ? option : Options.withDefault(option, fallback))
  )
}

/** An argument with the type, bounds and help of a schema. */
export const schemaArgument = <A, I>(name: string, schema: Schema.Schema<A, I>): Args.Args<A> =>
  Args.text({ name }).pipe(
    Args.withDescription(schemaInfo(schema).description),
    Args.mapEffect(decoder(`argument ${name}`, schema))
  )
