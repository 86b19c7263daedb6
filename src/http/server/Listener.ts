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
import { makePrivateDir } from "../../runtime/XdgDirs.js"
import type { AccessPolicy } from "./AccessControl.js"
import { serveBareSockets } from "./BareSocket.js"
import { guard, type OnSlow, refuseExpectation } from "./RequestGuard.js"
import type { RequestHandler, RequestListener } from "./RequestHandler.js"

/** The server can't listen on its address; `message` says why and what to do. */
export class ListenError extends Data.TaggedError("ListenError")<{ readonly message: string }> {}

export interface ListenerOptions extends AccessPolicy {
  /** Maximum number of connections, besides those of long-lived requests; further ones are closed at once. */
  readonly maxConnections: number
}

const defaults: ListenerOptions = { allowedHosts: [], token: undefined, publicPaths: new Set(), maxConnections: 512 }

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

/** How long requests in progress, and then uninterruptible handlers, may take to finish once the server stops. */
const drainTimeout = Duration.seconds(10)

const listenErrorMessage = (error: NodeJS.ErrnoException, address: Address): string => {
  const wanted = formatAddress(address)
  const another = "set another address with api.listen"
  switch (error.code) {
    case "EADDRINUSE":
      return `${wanted} is in use: stop the program that listens there, or ${another}`
    case "EADDRNOTAVAIL":
    case "EINVAL":
    case "ENOTFOUND":
      return `${wanted} is not an address of this machine: ${another}`
    case "EAI_AGAIN":
      return `${wanted} can't be resolved to an address: ${another}`
    case "EACCES":
    case "EPERM":
      return `${wanted} needs more rights than nexusd has: ${another}`
    case "ENOTDIR":
      return `cannot listen on ${wanted}: a part of its path is not a folder; ${another}`
    default:
      return `cannot listen on ${wanted}: ${error.message}; ${another}`
  }
}

const listenError = (error: unknown, address: Address) =>
  new ListenError({
    message: listenErrorMessage(error instanceof Error ? error : new Error(String(error)), address)
  })

/**
 * Maximum length in bytes of a socket's path: `sun_path` without its final NUL (unix(7)). libuv truncates a longer path
 * without an error, and listens there.
 */
const maxSocketPathBytes = process.platform === "linux" ? 107 : 103

const checkSocketPath = (path: string) =>
  Effect.gen(function* () {
    const refuse = (problem: string) =>
      new ListenError({ message: `cannot listen on unix:${path}: ${problem}; set another address with api.listen` })
    const length = Buffer.byteLength(path)
    if (length > maxSocketPathBytes) {
      return yield* refuse(`its path has ${length} bytes, and a Unix socket's has ${maxSocketPathBytes} at most`)
    }
    const found = yield* Effect.try({
      try: () => lstatSync(path, { throwIfNoEntry: false }),
      catch: (error) => listenError(error, { path })
    })
    if (found !== undefined && !found.isSocket()) return yield* refuse("a file that is not a socket is there")
    return found !== undefined
  })

/** Fails for a Unix socket's path that can't be used. Changes nothing, so it can run before a database is opened. */
export const checkAddress = (address: Address): Effect.Effect<void, ListenError> =>
  "path" in address ? Effect.asVoid(checkSocketPath(address.path)) : Effect.void

/** A socket is stale only if connecting is refused. EACCES or EAGAIN may come from a live one. */
const isListenedOn = (path: string) =>
  Effect.async<boolean>((resume) => {
    const socket = Net.connect({ path })
    const answer = (isListening: boolean) => {
      socket.destroy()
      resume(Effect.succeed(isListening))
    }
    socket.once("connect", () => answer(true))
    socket.once("error", ({ code }: NodeJS.ErrnoException) => answer(code !== "ECONNREFUSED" && code !== "ENOENT"))
  })

/** Makes the folder of a socket at `path`, and removes a socket that a dead daemon left behind. */
const preparePath = (path: string) =>
  Effect.gen(function* () {
    const attempt = (change: () => void) => Effect.try({ try: change, catch: (error) => listenError(error, { path }) })
    const isThere = yield* checkSocketPath(path)
    if (!isThere) return yield* attempt(() => makePrivateDir(dirname(path)))
    if (yield* isListenedOn(path)) {
      return yield* new ListenError({
        message: `cannot listen on unix:${path}: another daemon answers there; set another address with api.listen`
      })
    }
    yield* attempt(() => rmSync(path, { force: true }))
  })

const bind = (server: Http.Server, address: Address) =>
  Effect.async<Address, ListenError>((resume) => {
    const onError = (error: Error) => resume(listenError(error, address))
    server.once("error", onError)
    // A socket file has no mode of its own until it exists; nobody else may connect even before the chmod.
    const umask = process.umask(0o177)
    server.listen(address, () => {
      server.off("error", onError)
      const actual = server.address()
      const bound =
        typeof actual === "object" && actual !== null ? { host: actual.address, port: actual.port } : address
      resume(
        Effect.try({
          try: () => {
            if ("path" in address) chmodSync(address.path, 0o600)
            return bound
          },
          catch: (error) => listenError(error, address)
        })
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
    // Connections of long-lived requests are not counted, so that they can't take the place of others.
    const onLongLived = (change: 1 | -1) => {
      server.maxConnections += change
    }
    const guarded = (listener: RequestListener) => guard(listener, { ...policy, onSlow, onLongLived })
    const server: Http.Server = Http.createServer(limits, guarded(handler.listener))
    server.maxConnections = maxConnections
    // node:http would ignore header lines after the 1,000th; maxHeaderSize is the limit.
    server.maxHeadersCount = 0
    serveBareSockets(server)
    server.on("checkExpectation", guarded(refuseExpectation))
    const silent = silentConnections(server)
    return yield* Effect.acquireRelease(bind(server, address), () =>
      handler.endLongLived.pipe(
        Effect.zipRight(drain(server, silent)),
        // Only now, since a request may still arrive on an open connection during the drain.
        Effect.zipRight(Effect.timeoutOption(Effect.interruptible(handler.awaitUninterruptible), drainTimeout))
      )
    )
  })
