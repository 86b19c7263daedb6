import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Address, defaultAddress, formatAddress, isLocal } from "../domain/Address.js"
import { boundedInt, literals } from "../domain/Schemas.js"
import { BadConfig, formatParseError, readConfigFile, settings } from "../runtime/ConfigFile.js"
import { decodeString } from "../runtime/SchemaInfo.js"
import { readToken } from "../runtime/Token.js"
import { configDir, stateDir } from "../runtime/XdgDirs.js"
import { type DatabaseTarget, parseTarget } from "./DatabaseTarget.js"

/** A path or URL. Errors do not show it, since it may contain a password. */
const DatabaseUrl = Schema.NonEmptyString.pipe(
  Schema.filter((text) => Option.getOrUndefined(Either.getLeft(parseTarget(text))))
)

/** All settings by section and key. `api.listen` is `NEXUS_API_LISTEN` in the environment. */
const keys = {
  api: {
    listen: Address,
    allowed_hosts: Schema.Array(Schema.NonEmptyString),
    max_connections: boundedInt(1, 65_535, "Connections at once"),
    token_file: Schema.NonEmptyString
  },
  database: { url: DatabaseUrl },
  log: { level: literals(["debug", "info", "warning", "error"], "Log level") }
} as const

const exact = { exact: true } as const
/** A section without a key under it is `null` in YAML. */
const section = <F extends Schema.Struct.Fields>(fields: F) =>
  Schema.optionalWith(
    Schema.transform(Schema.Unknown, Schema.partialWith(Schema.Struct(fields), exact).annotations(settings), {
      strict: false,
      decode: (content) => content ?? {},
      encode: (content) => content
    }),
    exact
  )

/** The content of nexus.yaml. */
const Settings = Schema.Struct({
  api: section(keys.api),
  database: section(keys.database),
  log: section(keys.log)
}).annotations(settings)

/** The settings of a running nexusd. `token` is the content of the token file. */
export interface Config {
  readonly listen: Address
  readonly allowedHosts: ReadonlyArray<string>
  readonly maxConnections: number
  readonly token: string | undefined
  readonly database: DatabaseTarget
  readonly logLevel: typeof keys.log.level.Type
}

/** The settings file without `--config`. */
export const defaultConfigPath = (): string => Path.join(configDir(), "nexus", "nexus.yaml")
/** The token file that `nexusd token new` creates without a path. */
export const defaultTokenPath = (): string => Path.join(configDir(), "nexus", "token")
const defaultDatabasePath = (): string => Path.join(stateDir(), "nexus", "nexus.db")

const fromEnvironment = <A, I>(section: string, key: string, schema: Schema.Schema<A, I>) =>
  Effect.suspend(() => {
    const variable = `NEXUS_${section}_${key}`.toUpperCase()
    const text = process.env[variable]
    return text === undefined || text === ""
      ? Effect.succeed(undefined)
      : Either.mapLeft(
          decodeString(schema)(text),
          (error) => new BadConfig({ message: `${variable}: ${formatParseError(error)}` })
        )
  })

/** Fails if other machines can reach the address and no token is set. */
const assertTokenWhereReachable = (listen: Address, token: string | undefined) =>
  isLocal(listen) || token !== undefined
    ? Effect.void
    : new BadConfig({
        message:
          `api.listen ${formatAddress(listen)} can be reached from other machines, and no token is asked for: ` +
          `run nexusd token new, then add under api: the line token_file: ${defaultTokenPath()}`
      })

/** The settings that nexusd takes as options. */
export interface Flags {
  readonly config: string | undefined
  readonly database: string | undefined
}

/** Reads the settings. Precedence: flag > environment > file > default. Fails with `BadConfig`. */
export const loadConfig = (flags: Flags): Effect.Effect<Config, BadConfig> =>
  Effect.gen(function* () {
    const { api, database, log } = yield* readConfigFile(flags.config, defaultConfigPath(), Settings)
    const listen = (yield* fromEnvironment("api", "listen", keys.api.listen)) ?? api?.listen
    const hosts = (yield* fromEnvironment("api", "allowed_hosts", keys.api.allowed_hosts)) ?? api?.allowed_hosts
    const connections =
      (yield* fromEnvironment("api", "max_connections", keys.api.max_connections)) ?? api?.max_connections
    const tokenFile = (yield* fromEnvironment("api", "token_file", keys.api.token_file)) ?? api?.token_file
    const url = (yield* fromEnvironment("database", "url", keys.database.url)) ?? database?.url
    const level = (yield* fromEnvironment("log", "level", keys.log.level)) ?? log?.level

    const chosen = Either.mapLeft(
      parseTarget(flags.database ?? url ?? defaultDatabasePath()),
      (problem) => new BadConfig({ message: `--db: ${problem}` })
    )

    const config: Config = {
      listen: listen ?? defaultAddress,
      allowedHosts: (hosts ?? []).map((host) => host.toLowerCase()),
      maxConnections: connections ?? 512,
      token: tokenFile === undefined ? undefined : yield* readToken(tokenFile),
      database: yield* chosen,
      logLevel: level ?? "info"
    }
    yield* assertTokenWhereReachable(config.listen, config.token)
    return config
  })
