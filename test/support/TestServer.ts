import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Ref from "effect/Ref"
import { formatAddress } from "../../src/domain/Address.js"
import { StoreUnavailable } from "../../src/domain/Errors.js"
import type { Vm } from "../../src/domain/Vm.js"
import * as Server from "../../src/http/Server.js"
import { HttpApiServer } from "../../src/http/server/HttpApiServer.js"
import type { ListenerOptions } from "../../src/http/server/Listener.js"
import { StoreFigures } from "../../src/services/StoreFigures.js"
import { StoreHealth } from "../../src/services/StoreHealth.js"
import { VmEvents } from "../../src/services/VmEvents.js"
import type { VmLifecycle } from "../../src/services/VmLifecycle.js"
import { VmStore } from "../../src/services/VmStore.js"
import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"
import { type Answer, type Request, requestBytes, sendBytes, type TestAddress } from "./HttpBytes.js"
import { lifecycleStub } from "./LifecycleStub.js"

/** `unavailable` fails with StoreUnavailable, `broken` dies. */
export type StoreMode = "healthy" | "unavailable" | "broken"

/** The message of an `unavailable` store. */
export const outage = "the database is locked by another process; try again"

/** The defect of a `broken` store: all that an answer must not show. */
export const secret =
  "SQLITE_ERROR: no such column: cidd in SELECT cidd FROM vms (/srv/nexus/src/services/VmStoreSqlite.ts:41:7)"

/** The real API on a loopback port of its own, over records in memory. Silent: what it logs is in `logs`. */
export class TestServer extends Context.Tag("test/TestServer")<
  TestServer,
  {
    readonly address: TestAddress
    readonly url: string
    /** One entry for each line that was logged: its level, message, annotations and cause. */
    readonly logs: ReadonlyArray<string>
    /** Sets the store's mode. */
    readonly storeIs: (mode: StoreMode) => Effect.Effect<void>
  }
>() {
  static readonly layer = (options?: {
    readonly initial?: ReadonlyArray<Vm>
    readonly listener?: Partial<ListenerOptions>
    readonly lifecycle?: Partial<VmLifecycle["Type"]>
  }) =>
    Layer.scoped(
      TestServer,
      Effect.gen(function* () {
        const mode = yield* Ref.make<StoreMode>("healthy")
        const logs: Array<string> = []
        const store = switchable(Ref.get(mode)).pipe(Layer.provide(VmStoreMemory.layer(options)))
        const server = Server.layer({ ...options?.listener, address: { host: "127.0.0.1", port: 0 } }).pipe(
          Layer.provide(lifecycleStub(options?.lifecycle)),
          Layer.provide(store),
          Layer.provide(collectInto(logs))
        )
        const { address } = Context.get(yield* Layer.build(server), HttpApiServer)
        if (!("port" in address)) return yield* Effect.dieMessage(`asked for TCP, got ${formatAddress(address)}`)
        return {
          address,
          url: `http://${formatAddress(address)}`,
          logs,
          storeIs: (next) => Ref.set(mode, next)
        }
      })
    )
}

const switchable = (mode: Effect.Effect<StoreMode>) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const store = yield* VmStore
      const status = yield* StoreHealth
      const events = yield* VmEvents
      const figures = yield* StoreFigures
      const guard = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E | StoreUnavailable> =>
        Effect.flatMap(mode, (now): Effect.Effect<A, E | StoreUnavailable> => {
          if (now === "healthy") return call
          return now === "broken" ? Effect.die(new Error(secret)) : new StoreUnavailable({ message: outage })
        })
      return Context.make(VmStore, {
        create: (params) => guard(store.create(params)),
        list: (query) => guard(store.list(query)),
        listJson: (selection) => guard(store.listJson(selection)),
        get: (nameOrId) => guard(store.get(nameOrId)),
        update: (nameOrId, update, precondition) => guard(store.update(nameOrId, update, precondition)),
        replace: (params, precondition) => guard(store.replace(params, precondition)),
        delete: (nameOrId, precondition) => guard(store.delete(nameOrId, precondition)),
        transition: (nameOrId, decide, options) => guard(store.transition(nameOrId, decide, options)),
        getWithRun: (nameOrId) => guard(store.getWithRun(nameOrId)),
        running: guard(store.running),
        runningExcept: (supervisor) => guard(store.runningExcept(supervisor)),
        databaseId: guard(store.databaseId)
      }).pipe(
        Context.add(StoreHealth, { check: guard(status.check) }),
        Context.add(VmEvents, { subscribe: (since) => guard(events.subscribe(since)) }),
        Context.add(StoreFigures, { vmCounts: guard(figures.vmCounts), sizeBytes: guard(figures.sizeBytes) })
      )
    })
  )

const collectInto = (logs: Array<string>) =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ annotations, cause, logLevel, message }) => {
      const text = Array.ensure(message).map((part) => Inspectable.toStringUnknown(part))
      const details = HashMap.toEntries(annotations).map(([key, value]) => `${key}=${String(value)}`)
      logs.push([logLevel.label, ...text, ...details, Cause.isEmpty(cause) ? "" : Cause.pretty(cause)].join(" "))
    })
  )

/** One request on a connection of its own. */
export const send = (request: Request): Effect.Effect<Answer, never, TestServer> =>
  Effect.gen(function* () {
    const { address } = yield* TestServer
    const [answer] = yield* sendBytes(address, requestBytes(address, request))
    return answer ?? (yield* Effect.dieMessage("the server closed the connection without an answer"))
  })

/** The JSON object that an answer holds. */
export const jsonOf = ({ body }: Answer): Readonly<Record<string, unknown>> => JSON.parse(body)
