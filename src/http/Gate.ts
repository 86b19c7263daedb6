import type * as Http from "node:http"
import { type AdmissionPolicy, admit } from "./Admission.js"
import { type ApiError, ExpectationFailed, NotImplemented, Overloaded } from "./ApiErrors.js"
import { failure } from "./Reply.js"
import { hasBody } from "./RequestBody.js"
import { requestIdHeader } from "./RequestId.js"

/** Requests at once, beyond which a caller is asked to come again. Each costs memory until it is answered. */
const maxInFlight = 256

/** Answers at once, without the request's body being read. */
const refuse = (error: ApiError, response: Http.ServerResponse) => {
  const { body, headers, status } = failure(error)
  response.writeHead(status, headers)
  response.end(body)
}

/** Milliseconds after which a request is worth a line in the log. */
const slow = 1_000
export type OnSlow = (id: string, message: string) => void

/** RFC 9112, 3.2.2: a target in absolute form counts as its path, and its authority as the Host. */
const toOriginForm = (request: Http.IncomingMessage) => {
  const [, authority, path] = /^https?:\/\/([^/?#]*)(.*)$/i.exec(request.url ?? "") ?? []
  if (authority === undefined || path === undefined) return
  request.headers.host = authority
  request.url = path.startsWith("/") ? path : `/${path}`
}

/** RFC 9112, 6.1. node:http removes `chunked` and leaves any coding before it in the body. */
const isTransferCodingKnown = ({ headers }: Http.IncomingMessage) =>
  (headers["transfer-encoding"] ?? "chunked").toLowerCase() === "chunked"

/** Answers a request that expects what this daemon does not do. */
export const refuseExpectation: Http.RequestListener = (_, response) =>
  refuse(new ExpectationFailed({ error: "nothing but 100-continue can be expected" }), response)

/** Lets in what may come in, as much of it as can be served at once, before anything of it is routed or read. */
export const gate = (handler: Http.RequestListener, policy: AdmissionPolicy, onSlow: OnSlow): Http.RequestListener => {
  let inFlight = 0
  return (request, response) => {
    const id = crypto.randomUUID()
    response.setHeader(requestIdHeader, id)
    response.setHeader("x-content-type-options", "nosniff")
    toOriginForm(request)
    const refusal = admit(request, policy)
    if (refusal !== undefined) return refuse(refusal, response)
    if (!isTransferCodingKnown(request)) {
      response.shouldKeepAlive = false
      return refuse(
        new NotImplemented({ error: "the only Transfer-Encoding that nexusd implements is chunked" }),
        response
      )
    }
    if (inFlight >= maxInFlight) {
      return refuse(
        new Overloaded({ error: `${maxInFlight} requests are under way; come again in a second` }),
        response
      )
    }
    // A place is taken once the request is whole: slow senders must not keep others out.
    let begun: number | undefined
    let closed = false
    const begin = () => {
      // The rest of a body that was refused may arrive after the answer.
      if (closed) return
      inFlight++
      begun = performance.now()
    }
    if (hasBody(request)) request.once("end", begin)
    else begin()
    handler(request, response)
    // After the handler's own listener, which interrupts what the request set going.
    response.once("close", () => {
      closed = true
      // What waits to have written its answer to a caller who has gone would wait for ever.
      if (!response.writableEnded) response.end()
      if (begun === undefined) return
      inFlight--
      const millis = performance.now() - begun
      if (millis > slow) onSlow(id, `${request.method} ${request.url} took ${Math.round(millis)} ms`)
    })
  }
}
