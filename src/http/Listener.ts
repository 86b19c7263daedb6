import * as Http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Address, formatAddress } from "../domain/Address.js"

/** The address can't be listened on; `message` says why and what to do. */
export class CannotListen extends Data.TaggedError("CannotListen")<{ readonly message: string }> {}

const limits = {
  /** A request's head must be here by then, and the whole request by then (slow-loris). */
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 16 * 1024
}

/** How long requests in flight may take to finish once the daemon is told to stop. */
const drainTimeout = Duration.seconds(10)

/** What node:http refuses before there is a request, by the code of its error; anything else is not HTTP. */
const refusals: Readonly<Record<string, readonly [status: string, error: string]>> = {
  HPE_HEADER_OVERFLOW: ["431 Request Header Fields Too Large", "the request's head is larger than 16 KiB"],
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "the request did not arrive in time"]
}

const refuse = (error: NodeJS.ErrnoException, socket: Socket) => {
  if (error.code === "ECONNRESET" || !socket.writable) return socket.destroy()
  const [status, message] = refusals[error.code ?? ""] ?? ["400 Bad Request", "this is not an HTTP/1.1 request"]
  const body = JSON.stringify({ error: message })
  return socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  )
}

const why = (error: NodeJS.ErrnoException, address: Address) => {
  const wanted = formatAddress(address)
  switch (error.code) {
    case "EADDRINUSE":
      return `${wanted} is in use: stop the program that listens there, or set another address with api.listen`
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `${wanted} is not an address of this machine: set another with api.listen`
    case "EACCES":
      return `${wanted} needs more rights than nexusd has: set a port above 1023 with api.listen`
    default:
      return `cannot listen on ${wanted}: ${error.message}`
  }
}

const listen = (server: Http.Server, address: Address) =>
  Effect.async<Address, CannotListen>((resume) => {
    const onError = (error: Error) => resume(Effect.fail(new CannotListen({ message: why(error, address) })))
    server.once("error", onError)
    server.listen(address, () => {
      server.off("error", onError)
      const { address: host, port } = server.address() as AddressInfo
      resume(Effect.succeed({ host, port }))
    })
  })

/** Takes no more connections, lets requests in flight finish, and cuts off those that take too long. */
const drain = (server: Http.Server) =>
  Effect.async<void>((resume) => {
    server.close(() => resume(Effect.void))
    // A connection that falls idle after close() would stay open until its keep-alive ends.
    const idle = setInterval(() => server.closeIdleConnections(), 20)
    const late = setTimeout(() => server.closeAllConnections(), Duration.toMillis(drainTimeout))
    server.once("close", () => {
      clearInterval(idle)
      clearTimeout(late)
    })
  })

/**
 * Serves `app` at `address` until the scope closes; gives back the address it got, which differs when port 0 was asked
 * for.
 */
export const serve = (app: HttpApp.Default, address: Address): Effect.Effect<Address, CannotListen, Scope.Scope> =>
  Effect.gen(function* () {
    const handler = yield* Effect.locally(
      NodeHttpServer.makeHandler(app),
      HttpMiddleware.currentTracerDisabledWhen,
      () => true
    )
    const server = Http.createServer(limits, handler)
    server.on("clientError", refuse)
    return yield* Effect.acquireRelease(listen(server, address), () => drain(server))
  })
