import { readFileSync } from "node:fs"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { cut, show } from "../domain/Bounds.js"
import { strict } from "../domain/Vm.js"

/** Settings that can't be used; `message` names the file and the key. */
export class BadConfig extends Data.TaggedError("BadConfig")<{ readonly message: string; readonly cause?: unknown }> {}

/** Annotations of a schema of settings: no key but its own, and an error in words when it is no mapping at all. */
export const settings = {
  parseOptions: strict,
  message: ({ actual }: { readonly actual: unknown }) => `expected keys and values, got ${show(actual)}`
} as const

/** What is wrong with some settings, a line for each key. */
export const explain = (error: ParseResult.ParseError): string =>
  ParseResult.ArrayFormatter.formatErrorSync(error)
    .map(({ message, path }) => (path.length === 0 ? message : `${path.join(".")}: ${message}`))
    .join("; ")

/** Whether it is a missing file that an error speaks of. */
export const isMissing = (cause: unknown): boolean =>
  cause instanceof Error && "code" in cause && cause.code === "ENOENT"

/** The parser shows the line that it stumbles over, and a URL with a password may stand there. */
const withoutPasswords = (text: string): string => text.replace(/(:\/\/[^:@/\s]*):.*/g, "$1:…")

/**
 * Reads settings from a YAML file; an empty file holds none. Fails with `BadConfig` when the file can't be read, is not
 * YAML or does not fit the schema.
 */
export const readConfigFile = <A, I>(path: string, schema: Schema.Schema<A, I>) =>
  Effect.gen(function* () {
    const text = yield* Effect.try({
      try: () => readFileSync(path, "utf8"),
      catch: (cause) =>
        new BadConfig({ message: `cannot read ${path}: ${isMissing(cause) ? "no such file" : String(cause)}`, cause })
    })
    // Loaded here, since most calls find no file: the parser is a third of what a start of nexusctl loads.
    const Yaml = yield* Effect.promise(() => import("yaml"))
    const content: unknown = yield* Effect.try({
      // A key without a value is a key that is not set.
      try: () => Yaml.parse(text, (_, value) => value ?? undefined) ?? {},
      catch: (error) =>
        new BadConfig({
          message: `${path} is not YAML: ${cut(withoutPasswords(String(error)).replace(/\s+/g, " "), 300)}`
        })
    })
    return yield* Either.mapLeft(
      Schema.decodeUnknownEither(schema)(content),
      (error) => new BadConfig({ message: `${path}: ${explain(error)}` })
    )
  })
