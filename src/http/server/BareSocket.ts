import * as Http from "node:http"
import type { Duplex } from "node:stream"
import { BadRequest, HeadTooLarge, type HttpError, MethodNotAllowed, RequestTimeout } from "../HttpErrors.js"
import { encodeHttpError } from "./ErrorEncoder.js"
import { countRefusal } from "./RequestMetrics.js"
import { requestIdHeader } from "./ResponseWriter.js"

/**
 * Milliseconds for which the client's bytes are still read after the answer. Without it the kernel resets the connection,
 * and the answer is lost with it (RFC 9112, 9.6).
 */
const lingerMillis = 1_000

const closeSoon = (socket: Duplex) => {
  socket.resume()
  const linger = setTimeout(() => socket.destroy(), lingerMillis)
  socket.once("close", () => clearTimeout(linger))
}

const refuse = (error: HttpError, socket: Duplex) => {
  const { body, headers: errorHeaders, status } = encodeHttpError(error)
  countRefusal("", status)
  const content = JSON.stringify(body)
  const headers = {
    Date: new Date().toUTCString(),
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(content),
    Connection: "close",
    "X-Content-Type-Options": "nosniff",
    [requestIdHeader]: crypto.randomUUID(),
    ...errorHeaders
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.on("error", () => {})
  socket.end(`HTTP/1.1 ${status} ${Http.STATUS_CODES[status]}\r\n${lines.join("")}\r\n${content}`)
  closeSoon(socket)
}

/** What node:http rejects before there is a request, by its error's code. */
const toHttpError = ({ code }: NodeJS.ErrnoException): HttpError => {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new HeadTooLarge({ message: "the request's head is larger than 16 KiB" })
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new RequestTimeout({ message: "the request did not arrive in time" })
    default:
      return new BadRequest({ message: "this is not an HTTP/1.1 request" })
  }
}

/** Answers what node:http hands over as a bare socket: what it can't parse, and CONNECT. */
export const serveBareSockets = (server: Http.Server) => {
  const latestResponses = new WeakMap<Duplex, Http.ServerResponse>()
  const remember: Http.RequestListener = (request, response) => latestResponses.set(request.socket, response)
  server.on("request", remember)
  server.on("checkExpectation", remember)

  const refuseInTurn = (error: HttpError, socket: Duplex) => {
    if (!socket.writable) return socket.destroy()
    const response = latestResponses.get(socket)
    if (response === undefined) return refuse(error, socket)
    const { headersSent, req, shouldKeepAlive, writableEnded, writableFinished } = response
    if (req.complete) {
      // Pipelined: the request before gets its own answer first.
      if (!writableFinished) return response.once("close", () => refuseInTurn(error, socket))
      // RFC 9112, 9.6: nothing follows an answer with Connection: close.
      return shouldKeepAlive ? refuse(error, socket) : closeSoon(socket.end())
    }
    // The error is in the body of a request that was answered without it,
    if (writableEnded) return closeSoon(socket.end())
    // or whose answer has begun, or is queued after others.
    if (headersSent || response.socket === null) return socket.destroy()
    return refuse(error, socket)
  }

  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    if (error.code === "ECONNRESET") return socket.destroy()
    return refuseInTurn(toHttpError(error), socket)
  })
  server.on("connect", (_, socket) =>
    refuseInTurn(
      new MethodNotAllowed({ message: "nexusd is not a proxy and does not take CONNECT", allowed: [] }),
      socket
    )
  )
}
