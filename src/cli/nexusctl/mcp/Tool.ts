import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as JSONSchema from "effect/JSONSchema"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { CommandFailed } from "../daemon/CommandFailure.js"
import type { DaemonClient } from "../daemon/DaemonClient.js"

/** The arguments of a call do not fit the tool's schema; each issue names an argument. */
export class InvalidArguments extends Data.TaggedError("InvalidArguments")<{
  readonly issues: ReadonlyArray<string>
}> {}

/** A JSON Schema of an object. */
interface ObjectSchema {
  readonly type: "object"
  readonly [keyword: string]: unknown
}

/** What a tool does to the VMs, for clients that ask their user before some calls. */
export interface Hints {
  /** It changes nothing. */
  readonly readOnlyHint: boolean
  /** It overwrites, ends or removes something. */
  readonly destructiveHint: boolean
  /** The same call again changes nothing more. */
  readonly idempotentHint: boolean
}

/** A tool whose types have been forgotten. */
export interface Tool {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly inputSchema: ObjectSchema
  readonly outputSchema: ObjectSchema
  readonly annotations: Hints & { readonly title: string; readonly openWorldHint: false }
  /** Decodes the arguments and makes the call; returns what `outputSchema` describes. */
  readonly call: (
    daemon: DaemonClient,
    input: unknown
  ) => Effect.Effect<Readonly<Record<string, unknown>>, CommandFailed | InvalidArguments>
}

/** The protocol wants an object at the top, and no reference. */
const objectSchema = ({ ast }: Schema.Schema.All, additionalPropertiesStrategy: "strict" | "allow"): ObjectSchema => {
  const definitions = {}
  const schema = JSONSchema.fromAST(ast, {
    definitions,
    topLevelReferenceStrategy: "skip",
    additionalPropertiesStrategy
  })
  return { ...schema, type: "object", ...(Object.keys(definitions).length > 0 && { $defs: definitions }) }
}

const strict = { errors: "all", onExcessProperty: "error" } as const

/** A tool that takes and returns what the schemas describe. Clients must accept what a newer daemon adds to a result. */
export const tool = <A, I, B extends Readonly<Record<string, unknown>>, J>(definition: {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly hints: Hints
  readonly input: Schema.Schema<A, I>
  readonly output: Schema.Schema<B, J>
  readonly call: (daemon: DaemonClient, input: A) => Effect.Effect<B, CommandFailed>
}): Tool => {
  const { call, description, hints, input, name, output, title } = definition
  const decode = Schema.decodeUnknown(input, strict)
  return {
    name,
    title,
    description,
    inputSchema: objectSchema(input, "strict"),
    outputSchema: objectSchema(output, "allow"),
    annotations: { title, ...hints, openWorldHint: false },
    call: (daemon, given) =>
      decode(given).pipe(
        Effect.mapError(
          ({ issue }) =>
            new InvalidArguments({
              issues: ParseResult.ArrayFormatter.formatIssueSync(issue).map(({ message, path }) =>
                path.length === 0 ? message : `${path.join(".")}: ${message}`
              )
            })
        ),
        Effect.flatMap((decoded) => call(daemon, decoded))
      )
  }
}
