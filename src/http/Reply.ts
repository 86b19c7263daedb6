import type * as Http from "node:http"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type ApiError, Overloaded, toWire } from "./ApiErrors.js"

type Headers = Readonly<Record<string, string>>

/** An answer, ready to be sent. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: string | Uint8Array | Stream.Stream<Uint8Array, ApiError> | undefined
}

/** An answer that is text of some type. */
export const text = (status: number, type: string, body: string | Uint8Array, headers?: Headers): Reply => ({
  status,
  headers: { "content-type": type, "content-length": String(Buffer.byteLength(body)), ...headers },
  body
})

/** An answer that is JSON. */
export const json = (status: number, value: unknown, headers?: Headers): Reply =>
  text(status, "application/json", JSON.stringify(value), headers)

/** Headers that some failures carry: RFC 6750, 3; RFC 9110, 10.2.1 and 10.2.3. */
export const failureHeaders = (error: ApiError): Headers => {
  switch (error._tag) {
    case "MethodNotAllowed":
      return { allow: error.allowed.join(", ") }
    case "Overloaded":
      return { "retry-after": "1" }
    case "Unauthorized":
      return { "www-authenticate": 'Bearer realm="nexus"' }
    default:
      return {}
  }
}

/** The answer that tells of a failure. */
export const failure = (error: ApiError): Reply => {
  const { body, status } = toWire(error)
  return json(status, body, failureHeaders(error))
}

/** How long a caller may take for the whole of a long answer, which keeps a snapshot of the database. */
const patience = "60 seconds"

/** Waits until the caller has taken what was written, or has gone. */
const taken = (response: Http.ServerResponse) =>
  Effect.async<void>((resume) => {
    const forget = () => response.off("drain", done).off("close", done)
    const done = () => {
      forget()
      resume(Effect.void)
    }
    response.on("drain", done).on("close", done)
    return Effect.sync(forget)
  })

/** The head goes out with the first piece: what fails before can still be told. */
const sendPieces = (
  response: Http.ServerResponse,
  { headers, status }: Reply,
  pieces: Stream.Stream<Uint8Array, ApiError>
) =>
  Stream.runForEach(pieces, (piece) =>
    Effect.suspend(() => {
      if (!response.headersSent) response.writeHead(status, headers)
      return response.write(piece) ? Effect.void : taken(response)
    })
  ).pipe(
    Effect.timeoutFail({
      duration: patience,
      onTimeout: () => new Overloaded({ error: `the list could not be sent within ${patience}` })
    }),
    Effect.zipRight(Effect.sync(() => void response.end()))
  )

/** Sends an answer. Fails with what its pieces fail with, or when they are not taken in time. */
export const send = (response: Http.ServerResponse, reply: Reply): Effect.Effect<void, ApiError> =>
  Effect.suspend(() => {
    const { body, headers, status } = reply
    const isWhole = body === undefined || typeof body === "string" || body instanceof Uint8Array
    // node:http drops the body of an answer to HEAD; pieces need not be read at all.
    if (!isWhole && response.req.method !== "HEAD") return sendPieces(response, reply, body)
    response.writeHead(status, headers)
    response.end(isWhole ? body : undefined)
    return Effect.void
  })
