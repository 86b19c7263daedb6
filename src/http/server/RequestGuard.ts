// The global `crypto.randomUUID` takes longer.
import { randomUUID } from "node:crypto"
import type * as Http from "node:http"
import { ExpectationFailed, type HttpError, NotImplemented, Overloaded } from "../HttpErrors.js"
import { type AccessPolicy, checkAccess } from "./AccessControl.js"
import { encodeHttpError } from "./ErrorEncoder.js"
import { hasBody } from "./RequestBody.js"
import type { RequestListener } from "./RequestHandler.js"
import { changeInFlight, countRefusal, observeRequest } from "./RequestMetrics.js"
import { sendError } from "./ResponseWriter.js"

/** Maximum numbers of requests in progress; further ones fail with `Overloaded`. Each costs memory. */
const maxInFlight = { ordinary: 256, longLived: 2_000 } as const

/** Responds at once, without reading the request's body. */
const refuse = (request: Http.IncomingMessage, response: Http.ServerResponse, id: string, error: HttpError) => {
  const encoded = encodeHttpError(error)
  countRefusal(request.method ?? "", encoded.status)
  sendError(response, id, encoded)
}

/** Milliseconds after which a request is logged. */
const slowMillis = 1_000
export type OnSlow = (id: string, message: string) => void

/** RFC 9112, 3.2.2: a target in absolute form stands for its path, and its authority for the Host. */
const toOriginForm = (request: Http.IncomingMessage) => {
  const [, authority, path] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(request.url ?? "") ?? []
  if (authority === undefined || path === undefined) return
  request.headers.host = authority
  request.url = path.startsWith("/") ? path : `/${path}`
}

/** RFC 9112, 6.1. node:http removes `chunked` and leaves any coding before it in the body. */
const isTransferCodingKnown = ({ headers }: Http.IncomingMessage) =>
  (headers["transfer-encoding"] ?? "chunked").toLowerCase() === "chunked"

/** Refuses an `Expect` other than 100-continue (RFC 9110, 10.1.1). */
export const refuseExpectation: RequestListener = (request, response, id) => {
  refuse(request, response, id, new ExpectationFailed({ message: "nothing but 100-continue can be expected" }))
  return undefined
}

export interface GuardOptions extends AccessPolicy {
  readonly onSlow: OnSlow
  /** Called with 1 when a request becomes long-lived, and with -1 when it ends. */
  readonly onLongLived: (change: 1 | -1) => void
}

/** Enforces access control and the limits on requests in progress before a request is routed or read. */
export const guard = (
  listener: RequestListener,
  { onLongLived, onSlow, ...policy }: GuardOptions
): Http.RequestListener => {
  const inFlight = { ordinary: 0, longLived: 0 }
  const count = (kind: keyof typeof inFlight, change: 1 | -1) => {
    inFlight[kind] += change
    changeInFlight(kind, change)
  }
  return (request, response) => {
    const id = randomUUID()
    if (!request.url?.startsWith("/")) toOriginForm(request)
    const refusal = checkAccess(request, policy)
    if (refusal !== undefined) return refuse(request, response, id, refusal)
    if (!isTransferCodingKnown(request)) {
      response.shouldKeepAlive = false
      const message = "the only Transfer-Encoding that nexusd implements is chunked"
      return refuse(request, response, id, new NotImplemented({ message }))
    }
    if (inFlight.ordinary >= maxInFlight.ordinary) {
      const message = `${maxInFlight.ordinary} requests are under way; come again in a second`
      return refuse(request, response, id, new Overloaded({ message }))
    }
    // Counted once the request is complete, so that slow senders don't block others.
    let countedAs: keyof typeof inFlight | undefined
    let startedAt = performance.now()
    let isClosed = false
    const start = () => {
      // The rest of a body may arrive after the response, or while a long-lived request goes on.
      if (isClosed || countedAs !== undefined) return
      countedAs = "ordinary"
      count("ordinary", 1)
      startedAt = performance.now()
    }
    const becomeLongLived = () => {
      if (isClosed) return undefined
      if (inFlight.longLived >= maxInFlight.longLived) {
        const message = `${maxInFlight.longLived} requests that take long are under way; try again later`
        return new Overloaded({ message })
      }
      if (countedAs !== undefined) count(countedAs, -1)
      countedAs = "longLived"
      count("longLived", 1)
      onLongLived(1)
      return undefined
    }
    if (hasBody(request)) request.once("end", start)
    else start()
    const route = listener(request, response, id, becomeLongLived)
    // Registered after the listener's own, which interrupts the handler.
    response.once("close", () => {
      isClosed = true
      const millis = performance.now() - startedAt
      observeRequest(request.method ?? "", route, response.headersSent ? response.statusCode : undefined, millis / 1000)
      // A handler that can't be interrupted would wait forever for its response to be read.
      if (!response.writableEnded) response.end()
      if (countedAs === undefined) return
      count(countedAs, -1)
      if (countedAs === "longLived") return onLongLived(-1)
      if (millis > slowMillis) onSlow(id, `${request.method} ${request.url} took ${Math.round(millis)} ms`)
    })
  }
}
