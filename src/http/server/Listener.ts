import { chmodSync, lstatSync, rmSync } from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import { dirname } from "node:path"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { type Address, formatAddress } from "../../domain/Address.js"
import { makeFolder } from "../../system/UserFolders.js"
import type { AccessPolicy } from "./AccessControl.js"
import { guard, type OnSlow, onClientError, refuseExpectation } from "./RequestGuard.js"
import type { RequestHandler, RequestListener } from "./RequestHandler.js"

/** The server can't listen on its address; `message` says why and what to do. */
export class ListenError extends Data.TaggedError("ListenError")<{ readonly message: string }> {}

export interface ListenerOptions extends AccessPolicy {
  /** Maximum number of connections; further ones are closed at once. */
  readonly maxConnections: number
}

const defaults: ListenerOptions = { allowedHosts: [], token: undefined, maxConnections: 512 }

const limits = {
  /** Milliseconds in which a request's head, and the whole request, must arrive (slow-loris). */
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 16 * 1024,
  /** `checkAccess` reports a missing Host as JSON. */
  requireHostHeader: false
}

/** How long requests in progress may take to finish once the server stops. */
const drainTimeout = Duration.seconds(10)

const listenErrorMessage = (error: NodeJS.ErrnoException, address: Address): string => {
  const wanted = formatAddress(address)
  switch (error.code) {
    case "EADDRINUSE":
      return `${wanted} is in use: stop the program that listens there, or set another address with api.listen`
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `${wanted} is not an address of this machine: set another with api.listen`
    case "EACCES":
      return `${wanted} needs more rights than nexusd has: set another address with api.listen`
    default:
      return `cannot listen on ${wanted}: ${error.message}`
  }
}

const isListening = (path: string) =>
  Effect.async<boolean>((resume) => {
    const socket = Net.connect({ path })
    const done = (connected: boolean) => {
      socket.destroy()
      resume(Effect.succeed(connected))
    }
    socket.once("connect", () => done(true))
    socket.once("error", () => done(false))
  })

/** Creates the folder of a socket at `path`, and removes a socket on which nothing listens. */
const preparePath = (path: string) =>
  Effect.gen(function* () {
    const refused = (problem: string) => new ListenError({ message: `cannot listen on unix:${path}: ${problem}` })
    const found = yield* Effect.try({
      try: () => {
        makeFolder(dirname(path))
        return lstatSync(path, { throwIfNoEntry: false })
      },
      catch: (error) => refused(String(error))
    })
    if (found === undefined) return
    if (!found.isSocket()) return yield* refused("a file that is no socket is there")
    if (yield* isListening(path)) return yield* refused("another daemon answers there")
    yield* Effect.try({ try: () => rmSync(path), catch: (error) => refused(String(error)) })
  })

const bind = (server: Http.Server, address: Address) =>
  Effect.async<Address, ListenError>((resume) => {
    const onError = (error: Error) =>
      resume(Effect.fail(new ListenError({ message: listenErrorMessage(error, address) })))
    server.once("error", onError)
    // A socket has no mode of its own until it exists: the umask keeps others out until the chmod.
    const umask = process.umask(0o177)
    server.listen(address, () => {
      server.off("error", onError)
      const actual = server.address()
      if ("path" in address) chmodSync(address.path, 0o600)
      resume(
        Effect.succeed(
          typeof actual === "object" && actual !== null ? { host: actual.address, port: actual.port } : address
        )
      )
    })
    process.umask(umask)
  })

/** How long a connection without a request may stay open once the server stops. */
const silenceTimeout = Duration.seconds(1)

/** Stops accepting, lets requests in progress finish, and closes connections that take too long. */
const drain = (server: Http.Server, silent: ReadonlySet<Net.Socket>) =>
  Effect.async<void>((resume) => {
    server.close(() => resume(Effect.void))
    // A connection that becomes idle after close() would stay open until its keep-alive timeout.
    const idle = setInterval(() => server.closeIdleConnections(), 20)
    const quiet = setTimeout(() => {
      for (const socket of silent) socket.destroy()
    }, Duration.toMillis(silenceTimeout))
    const late = setTimeout(() => server.closeAllConnections(), Duration.toMillis(drainTimeout))
    server.once("close", () => {
      clearInterval(idle)
      clearTimeout(quiet)
      clearTimeout(late)
    })
  })

/** The connections that have sent no request yet: node:http does not count them as idle. */
const silentConnections = (server: Http.Server): ReadonlySet<Net.Socket> => {
  const silent = new Set<Net.Socket>()
  server.on("connection", (socket: Net.Socket) => {
    silent.add(socket)
    socket.once("close", () => silent.delete(socket))
  })
  server.on("request", ({ socket }: Http.IncomingMessage) => silent.delete(socket))
  return silent
}

/** Serves requests at `address` until the scope closes; returns the address, with the port that port 0 got. */
export const listen = (
  handler: RequestHandler,
  address: Address,
  options: Partial<ListenerOptions>
): Effect.Effect<Address, ListenError, Scope.Scope> =>
  Effect.gen(function* () {
    if ("path" in address) yield* preparePath(address.path)
    const { maxConnections, ...policy } = { ...defaults, ...options }
    const run = Runtime.runFork(yield* Effect.runtime())
    const onSlow: OnSlow = (id, message) => run(Effect.annotateLogs(Effect.logWarning(message), "request_id", id))
    const guarded = (listener: RequestListener) => guard(listener, policy, onSlow)
    const server = Http.createServer(limits, guarded(handler.listener))
    server.maxConnections = maxConnections
    server.on("clientError", onClientError)
    server.on("checkExpectation", guarded(refuseExpectation))
    const silent = silentConnections(server)
    return yield* Effect.acquireRelease(bind(server, address), () =>
      Effect.all([drain(server, silent), handler.stop], { concurrency: "unbounded", discard: true })
    )
  })
