import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { formatAddress } from "./domain/Address.js"
import { version } from "./domain/Version.js"
import { serve } from "./http/Listener.js"
import { httpApp } from "./http/Server.js"
import { type Config, defaultConfigPath, defaultTokenPath, type Flags, loadConfig } from "./services/Config.js"
import * as Database from "./services/Database.js"
import { type DatabaseChoice, showDatabase } from "./services/DatabaseChoice.js"
import { backup, check, DatabaseRefused, restore } from "./services/DatabaseFiles.js"
import * as PostgresDatabase from "./services/postgres/PostgresDatabase.js"
import * as VmStorePostgres from "./services/postgres/VmStorePostgres.js"
import type { StoreStatus } from "./services/StoreStatus.js"
import type { VmStore } from "./services/VmStore.js"
import * as VmStoreSqlite from "./services/VmStoreSqlite.js"
import { commandTree } from "./system/CommandTree.js"
import { ExitCode } from "./system/ExitCode.js"
import { keepYoungGenerationSmall } from "./system/Heap.js"
import { logging } from "./system/Logging.js"
import { main } from "./system/Program.js"
import { newToken } from "./system/Token.js"

const levels = {
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warning: LogLevel.Warning,
  error: LogLevel.Error
} as const

/** The store that the settings choose. */
const storeOf = (database: DatabaseChoice): Layer.Layer<VmStore | StoreStatus, DatabaseRefused> =>
  database._tag === "File"
    ? VmStoreSqlite.layer().pipe(Layer.provideMerge(Database.layer(database.path)))
    : VmStorePostgres.layer().pipe(Layer.provideMerge(PostgresDatabase.layer(database.target)))

/** Serves until told to stop: then requests in flight finish, and the database is closed last. */
const daemon = (config: Config) =>
  Effect.gen(function* () {
    keepYoungGenerationSmall()
    const store = yield* Layer.build(storeOf(config.database))
    const app = yield* Effect.provide(httpApp, store)
    const address = formatAddress(yield* serve(app, config.listen, config))
    const url = address.startsWith("unix:") ? address : `http://${address}`
    yield* Effect.logInfo(`nexusd ${version} listening on ${url}, database ${showDatabase(config.database)}`)
    return yield* Effect.never
  }).pipe(
    Effect.scoped,
    Effect.onInterrupt(() => Effect.logInfo("nexusd stopped")),
    Logger.withMinimumLogLevel(levels[config.logLevel]),
    Effect.provide(logging)
  )

const options = {
  config: Options.text("config").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription(`Settings (default: ${defaultConfigPath()})`),
    Options.optional
  ),
  db: Options.text("db").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription(
      "The database, a path or a postgres:// URL (default: NEXUS_DATABASE_URL, else database.url in the settings, else $XDG_STATE_HOME/nexus/nexus.db)"
    ),
    Options.optional
  )
}

const flagsOf = ({ config, db }: Command.Command.ParseConfig<typeof options>): Flags => ({
  config: Option.getOrUndefined(config),
  database: Option.getOrUndefined(db)
})

const nexusd = Command.make("nexusd", options, (given) => Effect.flatMap(loadConfig(flagsOf(given)), daemon)).pipe(
  Command.withDescription("The Nexus daemon: keeps the records of this host's microVMs and serves the REST API")
)

/** The settings of a command below nexusd. */
const config = Effect.flatMap(nexusd, (given) => loadConfig(flagsOf(given)))

/** The SQLite file that a command works on; PostgreSQL has programs of its own for it. */
const databaseFile = (instead: string) =>
  Effect.flatMap(config, ({ database }) =>
    database._tag === "File"
      ? Effect.succeed(database.path)
      : new DatabaseRefused({
          message: `${database.target.shown} is kept by PostgreSQL: use ${instead}`
        })
  )

const file = Args.text({ name: "FILE" })

const backupCommand = Command.make(
  "backup",
  { file: file.pipe(Args.withDescription("The copy, which must not exist yet")) },
  ({ file }) =>
    Effect.gen(function* () {
      const database = yield* databaseFile("pg_dump")
      const vms = yield* backup(database, file)
      yield* Console.log(`Backed up ${database} to ${file} (${vms} VMs)`)
    })
).pipe(Command.withDescription("Write a verified copy of the database, also while nexusd runs"))

const restoreCommand = Command.make(
  "restore",
  { file: file.pipe(Args.withDescription("The backup to put in the database's place")) },
  ({ file }) =>
    Effect.gen(function* () {
      const database = yield* databaseFile("pg_restore")
      const kept = yield* restore(database, file)
      yield* Console.log(
        `Restored ${database} from ${file}${kept === undefined ? "" : `\nWhat was there is kept as ${kept}`}`
      )
    })
).pipe(Command.withDescription("Put a backup in the database's place, and keep what was there; nexusd must not run"))

const checkCommand = Command.make("check", {}, () =>
  Effect.gen(function* () {
    const database = yield* databaseFile("pg_amcheck")
    const vms = yield* check(database)
    yield* Console.log(`${database} is sound (${vms} VMs)`)
  })
).pipe(Command.withDescription("Check every page and index of the database, also while nexusd runs"))

const tokenNewCommand = Command.make(
  "new",
  {
    file: Args.text({ name: "FILE" }).pipe(
      Args.withDescription(`Where to put it (default: ${defaultTokenPath()})`),
      Args.withDefault(defaultTokenPath())
    )
  },
  ({ file }) =>
    Effect.gen(function* () {
      yield* newToken(file)
      yield* Console.log(
        [
          `Made ${file}`,
          "",
          `  For nexusd, in nexus.yaml:      api: { token_file: "${file}" }`,
          `  For nexusctl, in config.yaml:   token_file: "${file}"`
        ].join("\n")
      )
    })
).pipe(Command.withDescription("Make a token that every request must carry then"))

const tokenCommand = Command.make("token").pipe(
  Command.withDescription("Manage the token that guards the API"),
  Command.withSubcommands([tokenNewCommand])
)

main({
  name: "nexusd",
  command: nexusd.pipe(Command.withSubcommands([backupCommand, restoreCommand, checkCommand, tokenCommand])),
  tree: commandTree("nexusd", nexusd, [
    commandTree("backup", backupCommand),
    commandTree("restore", restoreCommand),
    commandTree("check", checkCommand),
    commandTree("token", tokenCommand, [commandTree("new", tokenNewCommand)])
  ]),
  runsAlone: true,
  globals: ["--config", "--db"],
  failure: ({ message }) => ({ message: `Error: ${message}`, exitCode: ExitCode.failure }),
  interrupted: ExitCode.ok
})
