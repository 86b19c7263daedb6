import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Address, defaultAddress, formatAddress } from "../domain/Address.js"
import { CreateVm, ReplaceVm, UpdateVm, VmName } from "../domain/Vm.js"
import { EventsQuery } from "../domain/VmEvent.js"
import { matchesFilter, VmFilter, VmQuery } from "../domain/VmQuery.js"
import { LogsQuery, StopVm, WaitQuery } from "../domain/VmRequests.js"
import type { CallError } from "../http/CallError.js"
import { NexusClient } from "../http/Client.js"
import { Preconditions } from "../http/EntityTag.js"
import { BadRequest } from "../http/HttpErrors.js"
import type { CallOptions, ConnectOptions, Nexus, StreamOptions } from "./Nexus.js"
import { NexusError, toNexusError } from "./NexusError.js"
import { layer } from "./NodeClient.js"

export type { VmChange } from "../http/VmWatch.js"
export type { CallOptions, ChangeOptions, ConnectOptions, Nexus, StreamOptions, Vms } from "./Nexus.js"
export { NexusError, type NexusErrorTag } from "./NexusError.js"

const parseAddress = (text: string): Address =>
  Either.getOrThrowWith(
    Schema.decodeEither(Address)(text),
    (cause) =>
      new NexusError("InvalidAddress", ParseResult.ArrayFormatter.formatErrorSync(cause)[0]?.message ?? "", { cause })
  )

/** A request that the daemon would refuse, in its own words. */
const badRequest = (error: ParseResult.ParseError) => {
  const issues = ParseResult.ArrayFormatter.formatErrorSync(error).map(({ message, path }) => ({
    path: path.map(String).join("."),
    message
  }))
  const lines = issues.map(({ message, path }) => (path === "" ? message : `${path}: ${message}`))
  return new BadRequest({ message: lines.join("; "), issues })
}

const valid = <A, I>(schema: Schema.Schema<A, I>, value: unknown) =>
  Effect.mapError(Schema.decodeUnknown(schema)(value, { errors: "all" }), badRequest)

/** The fields that are set, as they stand in a URL. */
const toUrlParams = (fields: Readonly<Record<string, string | number | boolean | undefined>>) =>
  Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]))
  )

const preconditions = (options: { readonly ifMatch?: string | undefined; readonly ifNoneMatch?: string | undefined }) =>
  valid(Preconditions, toUrlParams({ "if-match": options.ifMatch, "if-none-match": options.ifNoneMatch }))

const abortOf = (signal: AbortSignal | undefined) =>
  signal === undefined
    ? Effect.never
    : Effect.async<never, unknown>((resume) => {
        const onAbort = () => resume(Effect.fail(signal.reason))
        if (signal.aborted) return onAbort()
        signal.addEventListener("abort", onAbort, { once: true })
        return Effect.sync(() => signal.removeEventListener("abort", onAbort))
      })

/**
 * A client of the daemon at `address`, `HOST:PORT` or `unix:/PATH`. Each call has a connection of its own, so only calls
 * in progress keep the process alive. Throws a `NexusError` if it can't read the address.
 */
export const connect = (address = formatAddress(defaultAddress), { token }: ConnectOptions = {}): Nexus => {
  const daemon = parseAddress(address)
  const scope = Effect.runSync(Scope.make())
  const { eventStream, health, listStream, logStream, vms, watch } = Context.get(
    Effect.runSync(Layer.buildWithScope(layer(daemon, token), scope)),
    NexusClient
  )
  const closed = Deferred.unsafeMake<never, unknown>(FiberId.none)
  const endOf = ({ signal }: CallOptions) => Effect.raceFirst(Deferred.await(closed), abortOf(signal))
  const toError = toNexusError(daemon)

  const run = async <A>(call: Effect.Effect<A, CallError>, options: CallOptions): Promise<A> => {
    const exit = await Effect.runPromiseExit(Effect.raceFirst(Effect.mapError(call, toError), endOf(options)))
    return Exit.getOrElse(exit, (cause) => {
      throw Cause.squash(cause)
    })
  }
  const iterate = <A>(stream: Stream.Stream<A, CallError>, options: CallOptions): AsyncIterable<A> =>
    Stream.toAsyncIterable(Stream.interruptWhen(Stream.mapError(stream, toError), endOf(options)))

  const toReconnectOptions = ({ onDisconnect, onReconnect }: StreamOptions) => ({
    ...(onDisconnect && { onDisconnect: (error: CallError) => Effect.sync(() => onDisconnect(toError(error))) }),
    ...(onReconnect && { onReconnect: Effect.sync(onReconnect) })
  })

  return {
    vms: {
      create: (vm, options = {}) =>
        run(
          Effect.flatMap(valid(CreateVm, vm), (payload) => vms.create({ payload })),
          options
        ),
      list: (filter = {}, options = {}) =>
        run(
          Effect.gen(function* () {
            const urlParams = yield* valid(VmFilter, filter)
            // A daemon of the step 4 plan does not know `name_prefix`.
            return (yield* vms.list({ urlParams })).filter(matchesFilter(urlParams))
          }),
          options
        ),
      iterate: (filter = {}, { pageSize, ...options } = {}) =>
        iterate(
          Stream.unwrap(
            Effect.map(valid(VmQuery, { ...filter, ...toUrlParams({ limit: pageSize }) }), ({ limit, ...known }) =>
              listStream(known, limit)
            )
          ),
          options
        ),
      get: (nameOrId, options = {}) => run(vms.get({ path: { nameOrId } }), options),
      getTagged: (nameOrId, options = {}) =>
        run(
          Effect.map(vms.get({ path: { nameOrId }, withResponse: true }), ([vm, response]) => ({
            vm,
            etag: NexusClient.entityTag(response)
          })),
          options
        ),
      update: (nameOrId, changes, options = {}) =>
        run(
          Effect.gen(function* () {
            const headers = yield* preconditions(options)
            return yield* vms.update({ path: { nameOrId }, headers, payload: yield* valid(UpdateVm, changes) })
          }),
          options
        ),
      replace: (name, vm, options = {}) =>
        run(
          Effect.gen(function* () {
            const path = { nameOrId: yield* valid(VmName, name) }
            const headers = yield* preconditions(options)
            return yield* vms.replace({ path, headers, payload: yield* valid(ReplaceVm, vm) })
          }),
          options
        ),
      delete: (nameOrId, options = {}) =>
        run(
          Effect.flatMap(preconditions(options), (headers) => vms.delete({ path: { nameOrId }, headers })),
          options
        ),
      start: (nameOrId, options = {}) =>
        run(
          Effect.flatMap(preconditions(options), (headers) => vms.start({ path: { nameOrId }, headers })),
          options
        ),
      stop: (nameOrId, how = {}, options = {}) =>
        run(
          Effect.gen(function* () {
            const headers = yield* preconditions(options)
            return yield* vms.stop({ path: { nameOrId }, headers, payload: yield* valid(StopVm, how) })
          }),
          options
        ),
      wait: (nameOrId, { state, timeout_s }, options = {}) =>
        run(
          Effect.flatMap(valid(WaitQuery, toUrlParams({ state: [state].flat().join(","), timeout_s })), (urlParams) =>
            vms.wait({ path: { nameOrId }, urlParams })
          ),
          options
        ),
      watch: (filter = {}, options = {}) =>
        iterate(
          Stream.unwrap(Effect.map(valid(VmFilter, filter), (filter) => watch(filter, toReconnectOptions(options)))),
          options
        ),
      logs: (nameOrId, { follow, tail } = {}, options = {}) =>
        iterate(
          Stream.unwrap(
            Effect.flatMap(valid(LogsQuery, toUrlParams({ follow, tail })), (urlParams) =>
              logStream({ path: { nameOrId }, urlParams })
            )
          ),
          options
        )
    },
    health: (options = {}) => run(health.check({}), options),
    events: ({ since, ...options } = {}) =>
      iterate(
        Stream.unwrap(
          Effect.map(valid(EventsQuery, toUrlParams({ since })), (query) =>
            eventStream({ ...query, ...toReconnectOptions(options) })
          )
        ),
        options
      ),
    close: async () => {
      await Effect.runPromise(
        Effect.zipRight(
          Deferred.fail(closed, new NexusError("Closed", `the client of ${formatAddress(daemon)} is closed`)),
          Scope.close(scope, Exit.void)
        )
      )
    }
  }
}
