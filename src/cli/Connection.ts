import * as Path from "node:path"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Address, defaultAddress } from "../domain/Address.js"
import { NexusClient } from "../http/Client.js"
import { BadConfig, explain, isMissing, readConfigFile, settings } from "../system/ConfigFile.js"
import { printErrorLines } from "../system/StandardStreams.js"
import { readToken } from "../system/Token.js"
import { configFolder } from "../system/UserFolders.js"
import { type Attempt, type CallError, type CommandFailed, DaemonSilent, explainCall } from "./Failure.js"

/** What `config.yaml` may hold. */
const Settings = Schema.Struct({
  daemon: Schema.optionalWith(Address, { exact: true }),
  token_file: Schema.optionalWith(Schema.NonEmptyString, { exact: true })
}).annotations(settings)

/** Where settings are looked for when no file is named. */
export const defaultConfigPath = (): string => Path.join(configFolder(), "nexusctl", "config.yaml")

/** How long the daemon may take to answer. */
const patience = "5 seconds"

/** The daemon that a command speaks to. */
export class Connection extends Context.Tag("nexus/Connection")<
  Connection,
  {
    readonly address: Address
    /** Makes a call. What goes wrong with it is told as a failed attempt at something. */
    readonly call: <A>(
      attempt: Attempt,
      request: (client: NexusClient["Type"]) => Effect.Effect<A, CallError>
    ) => Effect.Effect<A, CommandFailed>
    /** Makes a call whose failures the command deals with itself. */
    readonly attempt: <A, E>(
      request: (client: NexusClient["Type"]) => Effect.Effect<A, E>
    ) => Effect.Effect<A, E | DaemonSilent>
  }
>() {}

/** The file's settings; a file that can't be used is warned of, and holds none. */
const fromFile = (path: string | undefined) =>
  readConfigFile(path ?? defaultConfigPath(), Settings).pipe(
    Effect.catchAll((error) =>
      Effect.as(
        path === undefined && isMissing(error.cause)
          ? Effect.void
          : printErrorLines([`Warning: ${error.message}; defaults apply`]),
        {} as typeof Settings.Type
      )
    )
  )

const fromEnvironment = Effect.suspend(() => {
  const value = process.env["NEXUS_DAEMON"]
  return value === undefined || value === ""
    ? Effect.succeed(undefined)
    : Either.mapLeft(
        Schema.decodeEither(Address)(value),
        (error) => new BadConfig({ message: `NEXUS_DAEMON: ${explain(error)}` })
      )
})

/** What the command line says of the daemon. */
interface Flags {
  readonly config: string | undefined
  readonly daemon: Address | undefined
  readonly tokenFile: string | undefined
}

/** node:http; a Unix socket is its agent's business, not the URL's. */
const httpClient = (address: Address) => {
  const agent = { keepAlive: false, ...("path" in address ? { socketPath: address.path } : {}) }
  return NodeHttpClient.layerWithoutAgent.pipe(Layer.provide(NodeHttpClient.makeAgentLayer(agent)))
}

/** Finds the daemon and its token: the command line beats the environment, which beats the file, which beats the default. */
export const layer = (flags: Flags) =>
  Layer.effect(
    Connection,
    Effect.gen(function* () {
      const file = yield* fromFile(flags.config)
      const address = flags.daemon ?? (yield* fromEnvironment) ?? file.daemon ?? defaultAddress
      const tokenFile = flags.tokenFile ?? (process.env["NEXUS_TOKEN"] === undefined ? file.token_file : undefined)
      const token = tokenFile === undefined ? process.env["NEXUS_TOKEN"] : yield* readToken(tokenFile)
      const client = NexusClient.layer(address, token).pipe(Layer.provide(httpClient(address)))
      const attempt: Connection["Type"]["attempt"] = (request) =>
        Effect.flatMap(NexusClient, request).pipe(
          Effect.provide(client),
          Effect.timeoutFail({ duration: patience, onTimeout: () => new DaemonSilent() })
        )
      return Connection.of({
        address,
        attempt,
        call: (what, request) => Effect.mapError(attempt(request), (error) => explainCall(address, what, error))
      })
    })
  )
