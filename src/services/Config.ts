import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { Address, defaultAddress } from "../domain/Address.js"
import { oneOf } from "../domain/Bounds.js"
import { strict } from "../domain/Vm.js"
import { BadConfig, explain, isMissing, readConfigFile } from "../system/ConfigFile.js"
import { configFolder, stateFolder } from "../system/UserFolders.js"

const ifSet = <A, I>(schema: Schema.Schema<A, I>) => Schema.optionalWith(schema, { exact: true })

/** What nexus.yaml may hold. Each key can be set in the environment too: `api.listen` as `NEXUS_API_LISTEN`. */
const Settings = Schema.Struct({
  api: ifSet(
    Schema.Struct({
      /** Where the API is served. */
      listen: ifSet(Address)
    })
  ),
  database: ifSet(
    Schema.Struct({
      /** Path of the SQLite database. */
      url: ifSet(Schema.NonEmptyString)
    })
  ),
  log: ifSet(
    Schema.Struct({
      /** The least that is worth a line. */
      level: ifSet(oneOf(["debug", "info", "warning", "error"], "Log level"))
    })
  )
}).annotations({ parseOptions: strict })
type Settings = typeof Settings.Type

/** The settings that are in force. */
export interface Config {
  readonly listen: Address
  readonly database: string
  readonly logLevel: "debug" | "info" | "warning" | "error"
}

/** Where settings are looked for when no file is named. */
export const defaultConfigPath = (): string => Path.join(configFolder(), "nexus", "nexus.yaml")
const defaultDatabasePath = (): string => Path.join(stateFolder(), "nexus", "nexus.db")

/** Every key of the settings, with the environment variable that overrides it. */
const variables = SchemaAST.getPropertySignatures(Settings.ast).flatMap((section) =>
  SchemaAST.getPropertySignatures(section.type).map((key) => ({
    section: String(section.name),
    key: String(key.name),
    variable: `NEXUS_${String(section.name)}_${String(key.name)}`.toUpperCase()
  }))
)

const decode = Schema.decodeUnknownEither(Settings)

/** The settings that the environment holds, one by one, each with an error of its own. */
const fromEnvironment = (environment: NodeJS.ProcessEnv) =>
  Effect.forEach(variables, ({ key, section, variable }) => {
    const value = environment[variable]
    return value === undefined
      ? Effect.succeed<Settings>({})
      : Either.mapLeft(
          decode({ [section]: { [key]: value } }),
          (error) => new BadConfig({ message: explain(error).replace(`${section}.${key}`, variable) })
        )
  })

/** Reads the settings: a flag beats the environment, which beats the file, which beats the default. */
export const loadConfig = (flags: {
  readonly config: string | undefined
  readonly database: string | undefined
}): Effect.Effect<Config, BadConfig> =>
  Effect.gen(function* () {
    const file = yield* readConfigFile(flags.config ?? defaultConfigPath(), Settings).pipe(
      Effect.catchIf(
        (error) => flags.config === undefined && isMissing(error.cause),
        () => Effect.succeed<Settings>({})
      )
    )
    const layers = [...(yield* fromEnvironment(process.env)).reverse(), file]
    const first = <A>(pick: (settings: Settings) => A | undefined): A | undefined =>
      layers.map(pick).find((value) => value !== undefined)
    return {
      listen: first(({ api }) => api?.listen) ?? defaultAddress,
      database: Path.resolve(flags.database ?? first(({ database }) => database?.url) ?? defaultDatabasePath()),
      logLevel: first(({ log }) => log?.level) ?? "info"
    }
  })
