import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import { dirname } from "node:path"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { type Address, formatAddress } from "../domain/Address.js"
import { type AdmissionPolicy, admit } from "./Admission.js"
import { type ApiError, ExpectationFailed, Overloaded, toWire } from "./ApiErrors.js"
import { requestIdHeader } from "./RequestId.js"

/** The address can't be listened on; `message` says why and what to do. */
export class CannotListen extends Data.TaggedError("CannotListen")<{ readonly message: string }> {}

/** What a daemon takes from its callers. */
export interface ListenerOptions extends AdmissionPolicy {
  /** Connections beyond these are closed as they come. */
  readonly maxConnections: number
}

const defaults: ListenerOptions = { allowedHosts: [], token: undefined, maxConnections: 512 }

/** Requests at once, beyond which a caller is asked to come again. Each costs memory until it is answered. */
const maxInFlight = 256

const limits = {
  /** Milliseconds in which a request's head, and the whole request, must be here (slow-loris). */
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 16 * 1024,
  /** That a Host is missing is said in JSON, by `admit`. */
  requireHostHeader: false
}

/** How long requests in flight may take to finish once the daemon is told to stop. */
const drainTimeout = Duration.seconds(10)

/** What node:http refuses before there is a request, by the code of its error; anything else is not HTTP. */
const refusals: Readonly<Record<string, readonly [status: string, error: string]>> = {
  HPE_HEADER_OVERFLOW: ["431 Request Header Fields Too Large", "the request's head is larger than 16 KiB"],
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "the request did not arrive in time"]
}

const refuseUnparsed = (error: NodeJS.ErrnoException, socket: Net.Socket) => {
  if (error.code === "ECONNRESET" || !socket.writable) return socket.destroy()
  const [status, message] = refusals[error.code ?? ""] ?? ["400 Bad Request", "this is not an HTTP/1.1 request"]
  const body = JSON.stringify({ error: message })
  return socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  )
}

/** Headers that some refusals carry: RFC 6750, 3 and RFC 9110, 10.2.3. */
const refusalHeaders: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Unauthorized: { "www-authenticate": 'Bearer realm="nexus"' },
  Overloaded: { "retry-after": "1" }
}

const refuse = (error: ApiError, response: Http.ServerResponse) => {
  const { body, status } = toWire(error)
  const text = JSON.stringify(body)
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    ...refusalHeaders[error._tag]
  })
  response.end(text)
}

/** Milliseconds after which a request is worth a line in the log. */
const slow = 1_000
type OnSlow = (id: string, message: string) => void

/** RFC 9112, 3.2.2: a target in absolute form counts as its path, and its authority as the Host. */
const toOriginForm = (request: Http.IncomingMessage) => {
  const [, authority, path] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(request.url ?? "") ?? []
  if (authority === undefined || path === undefined) return
  request.headers.host = authority
  request.url = path.startsWith("/") ? path : `/${path}`
}

/** Lets in what may come in, as much of it as can be served at once, before anything of it is routed or read. */
const gate = (handler: Http.RequestListener, policy: AdmissionPolicy, onSlow: OnSlow): Http.RequestListener => {
  let inFlight = 0
  return (request, response) => {
    const id = crypto.randomUUID()
    response.setHeader(requestIdHeader, id)
    response.setHeader("x-content-type-options", "nosniff")
    toOriginForm(request)
    const refusal = admit(request, policy)
    if (refusal !== undefined) return refuse(refusal, response)
    if (inFlight >= maxInFlight) {
      return refuse(
        new Overloaded({ error: `${maxInFlight} requests are under way; come again in a second` }),
        response
      )
    }
    inFlight++
    const begun = performance.now()
    response.once("close", () => {
      inFlight--
      const millis = performance.now() - begun
      if (millis > slow) onSlow(id, `${request.method} ${request.url} took ${Math.round(millis)} ms`)
    })
    return handler(request, response)
  }
}

const why = (error: NodeJS.ErrnoException, address: Address): string => {
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

const isAnswered = (path: string) =>
  Effect.async<boolean>((resume) => {
    const socket = Net.connect({ path })
    const answer = (answered: boolean) => {
      socket.destroy()
      resume(Effect.succeed(answered))
    }
    socket.once("connect", () => answer(true))
    socket.once("error", () => answer(false))
  })

/** Makes the way free for a socket at `path`: its folder is made, one that a dead daemon left behind is removed. */
const clearPath = (path: string) =>
  Effect.gen(function* () {
    const refused = (problem: string) => new CannotListen({ message: `cannot listen on unix:${path}: ${problem}` })
    const found = yield* Effect.try({
      try: () => {
        mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
        return lstatSync(path, { throwIfNoEntry: false })
      },
      catch: (error) => refused(String(error))
    })
    if (found === undefined) return
    if (!found.isSocket()) return yield* refused("a file that is no socket is there")
    if (yield* isAnswered(path)) return yield* refused("another daemon answers there")
    yield* Effect.try({ try: () => rmSync(path), catch: (error) => refused(String(error)) })
  })

const listen = (server: Http.Server, address: Address) =>
  Effect.async<Address, CannotListen>((resume) => {
    const onError = (error: Error) => resume(Effect.fail(new CannotListen({ message: why(error, address) })))
    server.once("error", onError)
    // A socket file has no mode of its own until it exists; nobody else may connect even before the chmod.
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

/** How long a connection on which no request has arrived yet may go on once the daemon is told to stop. */
const silenceTimeout = Duration.seconds(1)

/** Takes no more connections, lets requests in flight finish, and cuts off those that take too long. */
const drain = (server: Http.Server, silent: ReadonlySet<Net.Socket>) =>
  Effect.async<void>((resume) => {
    server.close(() => resume(Effect.void))
    // A connection that falls idle after close() would stay open until its keep-alive ends.
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

/** The connections on which nothing was asked yet: node:http does not count them as idle. */
const silentConnections = (server: Http.Server): ReadonlySet<Net.Socket> => {
  const silent = new Set<Net.Socket>()
  server.on("connection", (socket: Net.Socket) => {
    silent.add(socket)
    socket.once("close", () => silent.delete(socket))
  })
  server.on("request", ({ socket }: Http.IncomingMessage) => silent.delete(socket))
  return silent
}

/**
 * Serves `app` at `address` until the scope closes; gives back the address it got, which differs when port 0 was asked
 * for.
 */
export const serve = (
  app: HttpApp.Default,
  address: Address,
  options?: Partial<ListenerOptions>
): Effect.Effect<Address, CannotListen, Scope.Scope> =>
  Effect.gen(function* () {
    const handler = yield* Effect.locally(
      NodeHttpServer.makeHandler(app),
      HttpMiddleware.currentTracerDisabledWhen,
      () => true
    )
    if ("path" in address) yield* clearPath(address.path)
    const { maxConnections, ...policy } = { ...defaults, ...options }
    const runtime = yield* Effect.runtime()
    const onSlow: OnSlow = (id, message) =>
      Runtime.runFork(runtime)(Effect.annotateLogs(Effect.logWarning(message), "request_id", id))
    const server = Http.createServer(limits, gate(handler, policy, onSlow))
    server.maxConnections = maxConnections
    server.on("clientError", refuseUnparsed)
    server.on("checkExpectation", (_: Http.IncomingMessage, response: Http.ServerResponse) =>
      refuse(new ExpectationFailed({ error: "nothing but 100-continue can be expected" }), response)
    )
    const silent = silentConnections(server)
    return yield* Effect.acquireRelease(listen(server, address), () => drain(server, silent))
  })
