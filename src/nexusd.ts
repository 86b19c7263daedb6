import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { examples } from "./cli/nexusd/Examples.js"
import { backupCommand, checkCommand, restoreCommand } from "./cli/nexusd/FileCommands.js"
import { hostFactsCommand } from "./cli/nexusd/HostFactsCommand.js"
import { installCommand, uninstallCommand } from "./cli/nexusd/InstallCommand.js"
import { migrateCommand } from "./cli/nexusd/MigrateCommand.js"
import { nexusd, settingsOf } from "./cli/nexusd/RootCommand.js"
import { tokenCommand } from "./cli/nexusd/TokenCommand.js"
import { withSubcommands } from "./cli/runner/CommandTree.js"
import { main } from "./cli/runner/Program.js"
import { formatAddress } from "./domain/Address.js"
import { version } from "./domain/Version.js"
import * as Server from "./http/Server.js"
import { HttpApiServer } from "./http/server/HttpApiServer.js"
import { checkAddress } from "./http/server/Listener.js"
import { ExitCode } from "./runtime/ExitCode.js"
import { limitYoungGeneration } from "./runtime/Heap.js"
import { logging } from "./runtime/Logging.js"
import { type OtlpEndpoints, otlpEndpoints } from "./runtime/OtlpEndpoints.js"
import type { Config } from "./services/Config.js"
import type { DatabaseOpenError } from "./services/DatabaseOpenError.js"
import { formatTarget } from "./services/DatabaseTarget.js"
import * as VmLifecycleLive from "./services/lifecycle/VmLifecycleLive.js"
import * as PostgresDatabase from "./services/postgres/PostgresDatabase.js"
import * as StoreFiguresPostgres from "./services/postgres/StoreFiguresPostgres.js"
import * as VmStorePostgres from "./services/postgres/VmStorePostgres.js"
import type { StoreFigures } from "./services/StoreFigures.js"
import type { StoreHealth } from "./services/StoreHealth.js"
import * as Database from "./services/sqlite/Database.js"
import * as StoreFiguresSqlite from "./services/sqlite/StoreFiguresSqlite.js"
import * as VmStoreSqlite from "./services/sqlite/VmStoreSqlite.js"
import type { VmEvents } from "./services/VmEvents.js"
import type { VmStore } from "./services/VmStore.js"
import * as VmmSelection from "./services/vmm/VmmSelection.js"

const levels = {
  debug: LogLevel.Debug,
  info: LogLevel.Info,
  warning: LogLevel.Warning,
  error: LogLevel.Error
} as const

/** Sends spans and log entries where the environment says, and loads what that takes only then. */
const otlp = (endpoints: OtlpEndpoints) =>
  endpoints.traces === undefined && endpoints.logs === undefined
    ? Layer.empty
    : Layer.unwrapEffect(
        Effect.map(
          Effect.promise(() => import("./runtime/Otlp.js")),
          ({ layer }) => layer(endpoints)
        )
      )

/** The store that the settings choose. */
const storeOf = ({
  database,
  databaseListen: listen
}: Config): Layer.Layer<VmStore | VmEvents | StoreFigures | StoreHealth, DatabaseOpenError> =>
  database._tag === "Sqlite"
    ? Layer.merge(VmStoreSqlite.layer(), StoreFiguresSqlite.layer).pipe(
        Layer.provideMerge(Database.layer(database.path))
      )
    : Layer.merge(VmStorePostgres.layer(), StoreFiguresPostgres.layer).pipe(
        Layer.provideMerge(PostgresDatabase.layer(database.server, { listen }))
      )

/** VMs as processes of this host. Those that run already are adopted while this layer is built. */
const lifecycle = (config: Config) =>
  VmLifecycleLive.layer(config.vm, { stateFolder: config.stateFolder, paths: config.privateFiles }).pipe(
    Layer.provide(VmmSelection.layer(config.vm))
  )

/**
 * The daemon as a layer: the store opens, VMs are adopted, the server listens. It stops in the reverse order, and VMs run on.
 */
const daemon = (config: Config, endpoints = otlpEndpoints()) => {
  const server = Server.layer({ ...config, address: config.listen, isTraced: endpoints.traces !== undefined }).pipe(
    Layer.provide(lifecycle(config)),
    Layer.provide(storeOf(config))
  )
  const started = Layer.effectDiscard(
    Effect.gen(function* () {
      const { address } = yield* HttpApiServer
      const url = "path" in address ? formatAddress(address) : `http://${formatAddress(address)}`
      yield* Effect.logInfo(`nexusd ${version} listening on ${url}, database ${formatTarget(config.database)}`)
      limitYoungGeneration()
    })
  )
  const launched = Layer.launch(started.pipe(Layer.provide(server), Layer.provide(otlp(endpoints))))
  return Effect.zipRight(checkAddress(config.listen), launched).pipe(
    Effect.onInterrupt(() => Effect.logInfo("nexusd stopped")),
    Logger.withMinimumLogLevel(levels[config.logLevel]),
    Effect.provide(logging)
  )
}

// NodeRuntime.runMain stops on SIGINT and SIGTERM alone.
process.on("SIGHUP", () => process.kill(process.pid, "SIGTERM"))
// Without a listener Node.js opens its inspector, which runs any code, on 127.0.0.1:9229.
process.on("SIGUSR1", () => {})

const command = nexusd.pipe(
  Command.withHandler((given) => Effect.flatMap(settingsOf(given), (config) => daemon(config))),
  withSubcommands([
    backupCommand,
    restoreCommand,
    checkCommand,
    migrateCommand,
    tokenCommand,
    installCommand,
    uninstallCommand,
    hostFactsCommand
  ])
)

main({
  name: "nexusd",
  aliases: [],
  command,
  tree: command.tree,
  hasRootHandler: true,
  examples,
  failure: (error) =>
    error._tag === "OutputFailed" ? error : { lines: [`Error: ${error.message}`], exitCode: ExitCode.failure }
})
