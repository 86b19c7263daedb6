import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { formatAddress } from "./domain/Address.js"
import { version } from "./domain/Version.js"
import { serve } from "./http/Listener.js"
import { httpApp } from "./http/Server.js"
import { type Config, defaultConfigPath, loadConfig } from "./services/Config.js"
import * as Database from "./services/Database.js"
import * as VmStoreSqlite from "./services/VmStoreSqlite.js"
import { commandTree } from "./system/CommandTree.js"
import { ExitCode } from "./system/ExitCode.js"
import { logging } from "./system/Logging.js"
import { main } from "./system/Program.js"

const levels = {
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warning: LogLevel.Warning,
  error: LogLevel.Error
} as const

/** Serves until told to stop: then requests in flight finish, and the database is closed last. */
const daemon = (config: Config) =>
  Effect.gen(function* () {
    const store = yield* Layer.build(
      VmStoreSqlite.layer().pipe(Layer.provideMerge(Database.layer(config.database)), Layer.provide(NodeContext.layer))
    )
    const app = yield* Effect.provide(httpApp, store)
    const address = yield* serve(app, config.listen)
    yield* Effect.logInfo(
      `nexusd ${version} listening on http://${formatAddress(address)}, database ${config.database}`
    )
    return yield* Effect.never
  }).pipe(
    Effect.scoped,
    Effect.onInterrupt(() => Effect.logInfo("nexusd stopped")),
    Logger.withMinimumLogLevel(levels[config.logLevel]),
    Effect.provide(logging)
  )

const nexusd = Command.make(
  "nexusd",
  {
    config: Options.file("config").pipe(
      Options.withPseudoName("PATH"),
      Options.withDescription(`Settings (default: ${defaultConfigPath()})`),
      Options.optional
    ),
    db: Options.file("db").pipe(
      Options.withPseudoName("PATH"),
      Options.withDescription(
        "The database (default: database.url in the settings, else $XDG_STATE_HOME/nexus/nexus.db)"
      ),
      Options.optional
    )
  },
  ({ config, db }) =>
    Effect.flatMap(loadConfig({ config: Option.getOrUndefined(config), database: Option.getOrUndefined(db) }), daemon)
).pipe(Command.withDescription("The Nexus daemon: keeps the records of this host's microVMs and serves the REST API"))

main({
  name: "nexusd",
  command: nexusd,
  tree: commandTree("nexusd", nexusd),
  globals: [],
  failure: ({ message }) => ({ message: `Error: ${message}`, exitCode: ExitCode.failure }),
  interrupted: ExitCode.ok
})
