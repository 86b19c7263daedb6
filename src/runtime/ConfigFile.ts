import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { preview, strict, truncate } from "../domain/Schemas.js"
import { readRegularFile } from "./RegularFile.js"
import { expandHome } from "./XdgDirs.js"

/** Settings can't be used. `message` is one line with the file or variable, and the key. */
export class BadConfig extends Data.TaggedError("BadConfig")<{ readonly message: string }> {}

/** Annotations of a settings schema: unknown keys are errors, and so is anything but a mapping. */
export const settings = {
  parseOptions: strict,
  message: ({ actual }: { readonly actual: unknown }) => `expected keys and values, got ${preview(actual)}`
} as const

/** The problems of a parse error in one line, each with its path: that of the file's key by default. */
export const formatParseError = (
  error: ParseResult.ParseError,
  pathOf = (path: ReadonlyArray<PropertyKey>): ReadonlyArray<PropertyKey> => path
): string =>
  ParseResult.ArrayFormatter.formatErrorSync(error)
    .map(({ message, path }) => (path.length === 0 ? message : `${pathOf(path).join(".")}: ${message}`))
    .join("; ")

/** The YAML parser's message quotes the line, which may contain a URL with a password. */
const withoutPasswords = (text: string): string => text.replace(/(:\/\/[^:@/\s]*):.*/g, "$1:…")

const parseYaml = (path: string, text: string) =>
  Effect.gen(function* () {
    // Loaded on demand: the parser is a third of nexusctl's code, and most calls find no file.
    const Yaml = yield* Effect.promise(() => import("yaml"))
    return yield* Effect.try({
      try: (): unknown => {
        const document = Yaml.parseDocument(text, { resolveKnownTags: false, stringKeys: true })
        const [problem] = [...document.errors, ...document.warnings]
        if (problem?.code === "MULTIPLE_DOCS") throw new Error("expected one YAML document, found several")
        if (problem !== undefined) throw problem
        // Throws where aliases multiply: yaml's `maxAliasCount` is 100.
        return document.toJS()
      },
      catch: (error) => {
        const problem = error instanceof Error ? error.message : String(error)
        return new BadConfig({
          message: `${path} is not YAML: ${truncate(withoutPasswords(problem).replace(/\s+/g, " ").trim(), 300)}`
        })
      }
    })
  })

const maxBytes = 1024 * 1024

/**
 * Reads settings from a YAML file of at most 1 MiB; of an empty or missing one they are `none`. Without `path` it reads `defaultPath`, which may
 * be missing. Fails with `BadConfig` if the file can't be read, is not one YAML document or does not match the schema.
 */
export const readConfigFile = <A, I>(
  path: string | undefined,
  defaultPath: string,
  schema: Schema.Schema<A, I>,
  none: A
) =>
  Effect.gen(function* () {
    const file = expandHome(path ?? defaultPath)
    const { text } = yield* readRegularFile(file, maxBytes).pipe(
      Effect.catchAll(({ isAbsent, reason }) =>
        isAbsent && path === undefined
          ? Effect.succeed({ text: "" })
          : new BadConfig({ message: `cannot read ${file}: ${reason}` })
      )
    )
    if (text === "") return none
    const content = yield* parseYaml(file, text)
    return yield* Either.mapLeft(
      Schema.decodeUnknownEither(schema)(content ?? {}),
      (error) => new BadConfig({ message: `${file}: ${formatParseError(error)}` })
    )
  })
