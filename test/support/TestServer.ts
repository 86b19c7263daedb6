import * as Net from "node:net"
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
import { StoreHealth } from "../../src/services/StoreHealth.js"
import { VmStore } from "../../src/services/VmStore.js"
import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"

/** Where a server listens on this machine. */
export interface TestAddress {
  readonly host: string
  readonly port: number
}

/** How the store behaves: as it should, as an outage, or as a bug. */
export type StoreMode = "well" | "unavailable" | "broken"

/** What people are told while the store is `unavailable`. */
export const outage = "the database is locked by another process; try again"

/** What a `broken` store dies of: everything that an answer must not show. */
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
    /** From now on the store behaves so. */
    readonly storeIs: (mode: StoreMode) => Effect.Effect<void>
  }
>() {
  static readonly layer = (options?: {
    readonly initial?: ReadonlyArray<Vm>
    readonly listener?: Partial<ListenerOptions>
  }) =>
    Layer.scoped(
      TestServer,
      Effect.gen(function* () {
        const mode = yield* Ref.make<StoreMode>("well")
        const logs: Array<string> = []
        const store = switchable(Ref.get(mode)).pipe(Layer.provide(VmStoreMemory.layer(options)))
        const server = Server.layer({ ...options?.listener, address: { host: "127.0.0.1", port: 0 } }).pipe(
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
      const guard = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E | StoreUnavailable> =>
        Effect.flatMap(mode, (now): Effect.Effect<A, E | StoreUnavailable> => {
          if (now === "well") return call
          return now === "broken" ? Effect.die(new Error(secret)) : new StoreUnavailable({ message: outage })
        })
      return Context.make(VmStore, {
        create: (params) => guard(store.create(params)),
        list: (query) => guard(store.list(query)),
        listJson: (selection) => guard(store.listJson(selection)),
        get: (nameOrId) => guard(store.get(nameOrId)),
        delete: (nameOrId) => guard(store.delete(nameOrId))
      }).pipe(Context.add(StoreHealth, { check: guard(status.check) }))
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

/** An HTTP answer as it came over the wire. Header names are in lower case. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const chunksOf = (bytes: Buffer): readonly [body: Buffer, rest: Buffer] => {
  const parts: Array<Buffer> = []
  for (let rest = bytes; ; ) {
    const lineEnd = rest.indexOf("\r\n")
    const size = Number.parseInt(rest.toString("latin1", 0, lineEnd), 16)
    const end = lineEnd + 2 + size
    if (!(rest.length >= end + 2)) throw new Error("the answer's chunks are cut off")
    if (size === 0) return [Buffer.concat(parts), rest.subarray(end + 2)]
    parts.push(rest.subarray(lineEnd + 2, end))
    rest = rest.subarray(end + 2)
  }
}

const parseAnswers = (bytes: Buffer, toHead: boolean): ReadonlyArray<Answer> => {
  if (bytes.length === 0) return []
  const headEnd = bytes.indexOf("\r\n\r\n")
  const [statusLine = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n")
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1])
  if (headEnd === -1 || !(status > 0)) throw new Error(`not an HTTP answer: ${bytes.toString("latin1", 0, 200)}`)
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(":")
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
  )
  const after = bytes.subarray(headEnd + 4)
  if (status === 100) return parseAnswers(after, toHead)
  const length = toHead || status === 204 ? 0 : Number(headers["content-length"] ?? 0)
  if (after.length < length) throw new Error("the answer's body is cut off")
  const [body, rest] =
    headers["transfer-encoding"] === "chunked" && !toHead
      ? chunksOf(after)
      : [after.subarray(0, length), after.subarray(length)]
  return [{ status, headers, body: body.toString("utf8") }, ...parseAnswers(rest, toHead)]
}

/**
 * Writes the bytes on one connection and reads until the server closes it, which `Connection: close` asks for. A server
 * may close before it has read everything: what it said until then counts.
 */
export const sendBytes = (address: TestAddress, bytes: string | Uint8Array): Effect.Effect<ReadonlyArray<Answer>> =>
  Effect.async<Buffer>((resume) => {
    const received: Array<Buffer> = []
    const socket = Net.connect({ ...address, allowHalfOpen: true })
    socket.on("data", (data) => received.push(data))
    socket.once("end", () => socket.destroy())
    socket.on("error", () => {})
    socket.once("close", () => resume(Effect.succeed(Buffer.concat(received))))
    socket.write(bytes)
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.timeout("60 seconds"),
    Effect.orDie,
    Effect.map((received) => parseAnswers(received, Buffer.from(bytes.slice(0, 5)).toString("latin1") === "HEAD "))
  )

/** Writes the bytes, waits until they are on their way, and hangs up without reading. */
export const sendAndHangUp = (address: TestAddress, bytes: string | Uint8Array): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const socket = Net.connect(address)
    socket.on("error", () => {})
    socket.once("close", () => resume(Effect.void))
    socket.write(bytes, () => socket.resetAndDestroy())
  })

export interface Request {
  readonly method?: string
  readonly path: string
  /** A default that is set to `undefined` is left out. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly body?: string | Uint8Array
}

/** A request's bytes, said to be JSON of the body's length unless `headers` say otherwise. */
export const requestBytes = (address: TestAddress, { body, headers, method = "GET", path }: Request): Uint8Array => {
  const all: Request["headers"] = {
    host: formatAddress(address),
    connection: "close",
    ...(body === undefined
      ? {}
      : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
    ...headers
  }
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`]))
  const head = `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body ?? "")])
}

/** One request on a connection of its own. */
export const send = (request: Request): Effect.Effect<Answer, never, TestServer> =>
  Effect.gen(function* () {
    const { address } = yield* TestServer
    const [answer] = yield* sendBytes(address, requestBytes(address, request))
    return answer ?? (yield* Effect.dieMessage("the server closed the connection without an answer"))
  })

/** The JSON object that an answer holds. */
export const jsonOf = ({ body }: Answer): Readonly<Record<string, unknown>> => JSON.parse(body)
