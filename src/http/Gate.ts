import type * as Http from "node:http"
import type * as Net from "node:net"
import { type AdmissionPolicy, admit } from "./Admission.js"
import { type ApiError, ExpectationFailed, Overloaded } from "./ApiErrors.js"
import { failure } from "./Reply.js"
import { hasBody } from "./RequestBody.js"
import { requestIdHeader } from "./RequestId.js"

/** Requests at once, beyond which a caller is asked to come again. Each costs memory until it is answered. */
const maxInFlight = 256

/** What node:http refuses before there is a request, by the code of its error; anything else is not HTTP. */
const refusals: Readonly<Record<string, readonly [status: string, error: string]>> = {
  HPE_HEADER_OVERFLOW: ["431 Request Header Fields Too Large", "the request's head is larger than 16 KiB"],
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "the request did not arrive in time"]
}

export const refuseUnparsed = (error: NodeJS.ErrnoException, socket: Net.Socket) => {
  if (error.code === "ECONNRESET" || !socket.writable) return socket.destroy()
  const [status, message] = refusals[error.code ?? ""] ?? ["400 Bad Request", "this is not an HTTP/1.1 request"]
  const body = JSON.stringify({ error: message })
  return socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  )
}

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
