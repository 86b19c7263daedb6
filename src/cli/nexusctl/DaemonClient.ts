import * as Path from "node:path"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as AnswerBody from "../../client/AnswerBody.js"
import { Address, defaultAddress } from "../../domain/Address.js"
import { boundedInt } from "../../domain/Schemas.js"
import { NexusClient } from "../../http/Client.js"
import { BadConfig, formatParseError, readConfigFile, settings } from "../../runtime/ConfigFile.js"
import { readToken, tokenFromEnvironment } from "../../runtime/Token.js"
import { configDir } from "../../runtime/XdgDirs.js"
import { type Attempt, type CallError, type CommandFailed, DaemonTimeout, toCommandFailure } from "./CommandFailure.js"
import * as MissingRoute from "./MissingRoute.js"
import { silenceAgent } from "./SilenceAgent.js"

/** The keys of `config.yaml`. */
const Settings = Schema.Struct({
  daemon: Schema.optionalWith(Address, { exact: true }),
  token_file: Schema.optionalWith(Schema.NonEmptyString, { exact: true })
}).annotations(settings)

export const SilenceSeconds = boundedInt(1, 3600, "Seconds without a byte after which the daemon counts as unreachable")
export const defaultSilenceSeconds = 5

/** The settings file without `--config`. */
export const defaultConfigPath = (): string => Path.join(configDir(), "nexusctl", "config.yaml")

/** How a call is made. */
export interface CallOptions {
  /** How long the daemon may send no byte; by default the global option `--timeout`, else `defaultSilenceSeconds`. */
  readonly silenceSeconds?: number | "unlimited"
  readonly defaultSilenceSeconds?: number
  /** Whether daemons of the step 4 plan lack the route. A missing route fails with `MissingRoute` then. */
  readonly isNewRoute?: boolean
}

/** Calls to the daemon that the settings name. */
export class DaemonClient extends Context.Tag("nexus/DaemonClient")<
  DaemonClient,
  {
    readonly address: Address
    /** Makes a call. An error becomes the failure of the command. */
    readonly call: <A>(
      attempt: Attempt,
      request: (client: NexusClient["Type"]) => Effect.Effect<A, CallError>,
      options?: CallOptions
    ) => Effect.Effect<A, CommandFailed>
    /** Makes a call and fails with its own errors. */
    readonly attempt: <A, E>(
      request: (client: NexusClient["Type"]) => Effect.Effect<A, E>,
      options?: CallOptions
    ) => Effect.Effect<A, E | DaemonTimeout>
  }
>() {}

const fromEnvironment = Effect.suspend(() => {
  const value = process.env["NEXUS_DAEMON"]
  return value === undefined || value === ""
    ? Effect.succeed(undefined)
    : Either.mapLeft(
        Schema.decodeEither(Address)(value),
        (error) => new BadConfig({ message: `NEXUS_DAEMON: ${formatParseError(error)}` })
      )
})

/** The global options. */
interface Flags {
  readonly config: string | undefined
  readonly daemon: Address | undefined
  readonly tokenFile: string | undefined
  readonly timeout: number | undefined
  readonly maxAnswerBytes?: number
}

/**
 * Finds the daemon and its token. Precedence: flag > environment > file > default. Fails with `BadConfig` rather than
 * fall back to another daemon than the user meant.
 */
export const layer = (flags: Flags) =>
  Layer.effect(
    DaemonClient,
    Effect.gen(function* () {
      const file = yield* readConfigFile(flags.config, defaultConfigPath(), Settings)
      const address = flags.daemon ?? (yield* fromEnvironment) ?? file.daemon ?? defaultAddress
      const environmentToken = flags.tokenFile === undefined ? yield* tokenFromEnvironment("NEXUS_TOKEN") : undefined
      const tokenFile = flags.tokenFile ?? file.token_file
      const token = environmentToken ?? (tokenFile === undefined ? undefined : yield* readToken(tokenFile))
      const attempt: DaemonClient["Type"]["attempt"] = (request, options = {}) =>
        Effect.gen(function* () {
          const limit =
            options.silenceSeconds ?? flags.timeout ?? options.defaultSilenceSeconds ?? defaultSilenceSeconds
          const silence = yield* Deferred.make<never, DaemonTimeout>()
          const seconds = limit === "unlimited" ? 0 : limit
          const onSilence = () => Deferred.unsafeDone(silence, Effect.fail(new DaemonTimeout({ seconds })))
          const client = NexusClient.layer(address, token).pipe(
            Layer.provide(options.isNewRoute ? MissingRoute.layer : Layer.empty),
            Layer.provide(AnswerBody.layer(flags.maxAnswerBytes ?? AnswerBody.maxAnswerBytes)),
            Layer.provide(NodeHttpClient.layerWithoutAgent),
            Layer.provide(silenceAgent(address, seconds, onSilence))
          )
          return yield* Effect.flatMap(NexusClient, request).pipe(
            Effect.provide(client),
            Effect.raceFirst(Deferred.await(silence))
          )
        })
      return DaemonClient.of({
        address,
        attempt,
        call: (what, request, options) =>
          Effect.mapError(attempt(request, { isNewRoute: what.newCommand !== undefined, ...options }), (error) =>
            toCommandFailure(address, what, error)
          )
      })
    })
  )
