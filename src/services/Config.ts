import { existsSync, realpathSync } from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Records from "effect/Record"
import * as Schema from "effect/Schema"
import { Address, defaultAddress, formatAddress, isLocal } from "../domain/Address.js"
import { boundedInt, literals } from "../domain/Schemas.js"
import { BadConfig, formatParseError, readConfigFile, settings } from "../runtime/ConfigFile.js"
import { valueFromText } from "../runtime/SchemaInfo.js"
import { readToken } from "../runtime/Token.js"
import { configDir, expandHome, stateDir } from "../runtime/XdgDirs.js"
import { type DatabaseTarget, parseTarget } from "./DatabaseTarget.js"
import { isPostgresUrl, type PostgresTarget, parsePostgresUrl } from "./PostgresUrl.js"
import { type VmSettings, vmKeys, vmSettings } from "./VmSettings.js"

/** A path or URL. Errors do not show it, since it may contain a password. */
const DatabaseUrl = Schema.NonEmptyString.pipe(
  Schema.filter((text) => Option.getOrUndefined(Either.getLeft(parseTarget(text))))
)

/** The PostgreSQL server to listen to. Errors do not show it either. */
const ListenUrl = Schema.NonEmptyString.pipe(
  Schema.filter((text) =>
    isPostgresUrl(text) ? Option.getOrUndefined(Either.getLeft(parsePostgresUrl(text))) : "expected a postgres:// URL"
  )
)

/** All settings by section and key. `api.listen` is `NEXUS_API_LISTEN` in the environment. */
const keys = {
  api: {
    listen: Address,
    allowed_hosts: Schema.Array(Schema.NonEmptyString),
    max_connections: boundedInt(1, 65_535, "Connections at once"),
    token_file: Schema.NonEmptyString
  },
  database: { url: DatabaseUrl, listen_url: ListenUrl },
  log: { level: literals(["debug", "info", "warning", "error"], "Log level") },
  vm: vmKeys
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
  log: section(keys.log),
  vm: section(keys.vm)
}).annotations(settings)

/** The settings of a running nexusd. `token` is the content of the token file. */
export interface Config {
  readonly listen: Address
  readonly allowedHosts: ReadonlyArray<string>
  readonly maxConnections: number
  readonly token: string | undefined
  readonly database: DatabaseTarget
  /** The server to listen to for changes of other daemons, where `database` leads through a pooler. */
  readonly databaseListen: PostgresTarget | undefined
  readonly logLevel: typeof keys.log.level.Type
  readonly vm: VmSettings
  /** The default folder of the database, and the folder of the VMs' files. */
  readonly stateFolder: string
  /** Files that hold settings, secrets or records, also if they are missing: no VM may be given one. */
  readonly privateFiles: ReadonlyArray<string>
}

/** The settings file without `--config`. */
export const defaultConfigPath = (): string => Path.join(configDir(), "nexus", "nexus.yaml")
/** The token file that `nexusd token new` creates without a path. */
export const defaultTokenPath = (): string => Path.join(configDir(), "nexus", "token")
const stateFolder = (): string => Path.join(stateDir(), "nexus")
const defaultDatabasePath = (): string => Path.join(stateFolder(), "nexus.db")

const variableName = (section: PropertyKey, key: PropertyKey) => ["NEXUS", section, key].join("_").toUpperCase()

/** The settings in the environment, as the file would have them. An empty variable counts as not set. */
const environmentContent = () =>
  Records.map(keys, (fields: Record<string, Schema.Schema.All>, section) =>
    Records.filterMap(fields, (schema, key) => {
      const text = process.env[variableName(section, key)]
      return text ? Option.some(valueFromText(schema, text)) : Option.none()
    })
  )

const readEnvironment = Effect.suspend(() =>
  Either.mapLeft(
    Schema.decodeUnknownEither(Settings)(environmentContent()),
    (error) =>
      new BadConfig({
        message: formatParseError(error, ([section = "", key = "", ...rest]) => [variableName(section, key), ...rest])
      })
  )
)

/** The database and SQLite's files next to it (sqlite.org/tempfiles.html), where a link to it leads. */
const databaseFiles = (target: DatabaseTarget): ReadonlyArray<string> => {
  if (target._tag === "Postgres") return []
  const path = existsSync(target.path) ? realpathSync(target.path) : target.path
  return ["", "-wal", "-shm", "-journal"].map((suffix) => `${path}${suffix}`)
}

/** Fails if other machines can reach the address and no token is set. */
const assertTokenWhereReachable = (listen: Address, token: string | undefined) =>
  isLocal(listen) || token !== undefined
    ? Effect.void
    : new BadConfig({
        message:
          `api.listen ${formatAddress(listen)} can be reached from other machines, and no token is asked for: ` +
          `run nexusd token new, then add under api: the line token_file: ${defaultTokenPath()}`
      })

const parseListenUrl = (url: string) =>
  Either.mapLeft(parsePostgresUrl(url), (problem) => new BadConfig({ message: `database.listen_url: ${problem}` }))

/** The settings that nexusd takes as options. */
export interface Flags {
  readonly config: string | undefined
  readonly database: string | undefined
}

/** Reads the settings. Precedence: flag > environment > file > default. Fails with `BadConfig`. */
export const loadConfig = (flags: Flags): Effect.Effect<Config, BadConfig> =>
  Effect.gen(function* () {
    const file = yield* readConfigFile(flags.config, defaultConfigPath(), Settings, {})
    const environment = yield* readEnvironment
    const api = { ...file.api, ...environment.api }
    const database = { ...file.database, ...environment.database }
    const log = { ...file.log, ...environment.log }
    const vm = { ...file.vm, ...environment.vm }

    const chosen = Either.mapLeft(
      parseTarget(flags.database ?? database.url ?? defaultDatabasePath()),
      (problem) => new BadConfig({ message: `--db: ${problem}` })
    )

    const target = yield* chosen
    const config: Config = {
      listen: api.listen ?? defaultAddress,
      allowedHosts: (api.allowed_hosts ?? []).map((host) => host.toLowerCase()),
      maxConnections: api.max_connections ?? 512,
      token: api.token_file === undefined ? undefined : yield* readToken(api.token_file),
      database: target,
      databaseListen: database.listen_url === undefined ? undefined : yield* parseListenUrl(database.listen_url),
      logLevel: log.level ?? "info",
      vm: vmSettings(vm),
      stateFolder: stateFolder(),
      privateFiles: [
        flags.config ?? defaultConfigPath(),
        api.token_file ?? defaultTokenPath(),
        ...databaseFiles(target)
      ].map((path) => Path.resolve(expandHome(path)))
    }
    yield* assertTokenWhereReachable(config.listen, config.token)
    return config
  })
