import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AnswerBody from "../../../client/AnswerBody.js"
import type { Address } from "../../../domain/Address.js"
import { DaemonTimeout } from "../../../domain/Errors.js"
import { boundedInt } from "../../../domain/Schemas.js"
import type { CallError } from "../../../http/CallError.js"
import { NexusClient } from "../../../http/Client.js"
import * as Spinner from "../output/Spinner.js"
import * as CallTrace from "./CallTrace.js"
import { type Attempt, type CommandFailed, toCommandFailure, usageError } from "./CommandFailure.js"
import * as MissingRoute from "./MissingRoute.js"
import * as RequestId from "./RequestId.js"
import {
  type DaemonFlags,
  type DaemonSettings,
  defaultSilenceSeconds,
  readDaemonSettings,
  tokenOf
} from "./Settings.js"
import { silenceAgent } from "./SilenceAgent.js"

export const SilenceSeconds = boundedInt(1, 3600, "Seconds without a byte after which the daemon counts as unreachable")

/** How a call is made. */
export interface CallOptions {
  /** How long the daemon may send no byte; by default the global option `--timeout`, else `defaultSilenceSeconds`. */
  readonly silenceSeconds?: number | "unlimited"
  readonly defaultSilenceSeconds?: number
  /** Whether daemons of the step 4 plan lack the route. A missing route fails with `MissingRoute` then. */
  readonly isNewRoute?: boolean
  /** Gets the id of a request that the daemon answers with status 5xx. */
  readonly onServerError?: (requestId: string) => void
}

/** Calls to the daemon that the settings name. */
export interface DaemonClient {
  readonly address: Address
  /** The global option `--timeout`, or its default. */
  readonly timeoutSeconds: number
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

/** The daemon that the global options, the environment and the settings file name, each read once and when it is used. */
export class Daemon extends Context.Tag("nexus/Daemon")<
  Daemon,
  {
    readonly settings: Effect.Effect<DaemonSettings, CommandFailed>
    readonly client: Effect.Effect<DaemonClient, CommandFailed>
  }
>() {}

export const DaemonClient: Effect.Effect<DaemonClient, CommandFailed, Daemon> = Effect.flatMap(
  Daemon,
  ({ client }) => client
)

/** The global options. */
interface Flags extends DaemonFlags {
  readonly isVerbose: boolean
  readonly maxAnswerBytes?: number
}

const settingsOf = (flags: Flags): Effect.Effect<DaemonSettings, CommandFailed> =>
  flags.context !== undefined && flags.daemon !== undefined
    ? usageError("--context and --daemon exclude each other: both say which daemon is meant", "See: nexusctl --help")
    : Effect.mapError(readDaemonSettings(flags), ({ message }) => usageError(message))

const makeClient = (flags: Flags, settings: DaemonSettings): Effect.Effect<DaemonClient, CommandFailed> =>
  Effect.gen(function* () {
    const address = settings.daemon.value
    const token = yield* Effect.mapError(tokenOf(settings), ({ message }) => usageError(message))
    const attempt: DaemonClient["attempt"] = (request, options = {}) =>
      Effect.gen(function* () {
        const limit = options.silenceSeconds ?? flags.timeout ?? options.defaultSilenceSeconds ?? defaultSilenceSeconds
        const silence = yield* Deferred.make<never, DaemonTimeout>()
        const seconds = limit === "unlimited" ? 0 : limit
        const onSilence = () => Deferred.unsafeDone(silence, Effect.fail(new DaemonTimeout({ seconds })))
        const client = NexusClient.layer(address, token).pipe(
          Layer.provide(options.isNewRoute ? MissingRoute.layer : Layer.empty),
          Layer.provide(RequestId.layer(options.onServerError ?? (() => {}))),
          Layer.provide(AnswerBody.layer(flags.maxAnswerBytes ?? AnswerBody.maxAnswerBytes)),
          Layer.provide(Spinner.layer(address)),
          Layer.provide(flags.isVerbose ? CallTrace.layer(address) : Layer.empty),
          Layer.provide(NodeHttpClient.layerWithoutAgent),
          Layer.provide(silenceAgent(address, seconds, onSilence))
        )
        return yield* Effect.flatMap(NexusClient, request).pipe(
          Effect.provide(client),
          Effect.raceFirst(Deferred.await(silence))
        )
      })
    return {
      address,
      timeoutSeconds: flags.timeout ?? defaultSilenceSeconds,
      attempt,
      call: (what, request, options) =>
        Effect.suspend(() => {
          let requestId: string | undefined
          const onServerError = (id: string) => {
            requestId = id
            options?.onServerError?.(id)
          }
          return Effect.mapError(
            attempt(request, { isNewRoute: what.newCommand !== undefined, ...options, onServerError }),
            (error) => toCommandFailure(address, what, error, requestId)
          )
        })
    }
  })

/** The daemon that the global options name. */
export const layer = (flags: Flags): Layer.Layer<Daemon> =>
  Layer.effect(
    Daemon,
    Effect.gen(function* () {
      const settings = yield* Effect.cached(settingsOf(flags))
      const client = yield* Effect.cached(Effect.flatMap(settings, (settings) => makeClient(flags, settings)))
      return { settings, client }
    })
  )
