import type * as Http from "node:http"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type HttpError, Overloaded } from "../HttpErrors.js"
import type { EncodedError } from "./ErrorEncoder.js"
import type { Headers, HttpResponse } from "./HttpResponse.js"

/** The header with the request's id, which log entries carry as `request_id`. */
export const requestIdHeader = "x-request-id"

/** How long a client may take to read a long response, which holds a snapshot of the database. */
const sendTimeout = "60 seconds"

const writeHead = (response: Http.ServerResponse, id: string, status: number, headers: Headers) =>
  response.writeHead(status, { [requestIdHeader]: id, "x-content-type-options": "nosniff", ...headers })

/** Sends a whole response, unless the client has disconnected and the response was ended. */
const sendBytes = (
  response: Http.ServerResponse,
  id: string,
  status: number,
  headers: Headers,
  body: string | Uint8Array | undefined
) => {
  if (response.headersSent) return
  writeHead(
    response,
    id,
    status,
    body === undefined ? headers : { "content-length": String(Buffer.byteLength(body)), ...headers }
  )
  // node:http drops the body of a response to HEAD.
  response.end(body)
}

const json = { "content-type": "application/json" }

/** Browsers cache a 410 forever, and may cache a 404, without `Cache-Control` (RFC 9110, 15.1). */
const errorHeaders = { ...json, "cache-control": "no-store" }

/** Sends an error as JSON. */
export const sendError = (response: Http.ServerResponse, id: string, { body, headers, status }: EncodedError) =>
  sendBytes(response, id, status, { ...errorHeaders, ...headers }, JSON.stringify(body))

/** Waits for `drain` or `close`. */
const awaitDrain = (response: Http.ServerResponse) =>
  Effect.async<void>((resume) => {
    const forget = () => response.off("drain", done).off("close", done)
    const done = () => {
      forget()
      resume(Effect.void)
    }
    response.on("drain", done).on("close", done)
    return Effect.sync(forget)
  })

const sendStream = <E>(
  response: Http.ServerResponse,
  stream: Stream.Stream<Uint8Array, E>,
  writeStreamHead: () => void
): Effect.Effect<void, E> =>
  Stream.runForEach(stream, (chunk) =>
    Effect.suspend(() => {
      if (!response.headersSent) writeStreamHead()
      return response.write(chunk) ? Effect.void : awaitDrain(response)
    })
  ).pipe(
    Effect.zipRight(
      Effect.sync(() => {
        if (!response.headersSent) writeStreamHead()
        response.end()
      })
    )
  )

const inTime = Effect.timeoutFail({
  duration: sendTimeout,
  onTimeout: () => new Overloaded({ message: `the response could not be sent within ${sendTimeout}` })
})

const heartbeatMillis = 15_000

/** Sends a heartbeat until the response ends, unless the client still has to read what was sent before. */
const beat = (response: Http.ServerResponse, heartbeat: string) => {
  const timer = setInterval(() => {
    if (!response.writableNeedDrain && !response.writableEnded) response.write(heartbeat)
  }, heartbeatMillis)
  response.once("close", () => clearInterval(timer))
}

/** Sends a response. Fails with what its stream fails with, or when the client does not read it in time. */
export const send = <A, E>(
  response: Http.ServerResponse,
  id: string,
  defaultStatus: number,
  { body, headers, status = defaultStatus }: HttpResponse<A, E>,
  stopping: Effect.Effect<void>
): Effect.Effect<void, E | HttpError> => {
  if (body?._tag !== "Stream") {
    return Effect.sync(() => {
      if (body === undefined) sendBytes(response, id, status, headers, undefined)
      else if (body._tag === "Bytes") sendBytes(response, id, status, headers, body.bytes)
      else sendBytes(response, id, status, { ...json, ...headers }, JSON.stringify(body.value))
    })
  }
  const writeStreamHead = () => void writeHead(response, id, status, headers)
  if (response.req.method === "HEAD") {
    return Effect.sync(() => {
      writeStreamHead()
      response.end()
    })
  }
  if (body.endless === undefined) return inTime(sendStream(response, body.stream, writeStreamHead))
  const { cutOff = Effect.never, heartbeat } = body.endless
  const cutOffOrStopping = Effect.zipRight(
    Effect.raceFirst(cutOff, stopping),
    Effect.sync(() => response.destroy())
  )
  return Effect.suspend(() => {
    writeStreamHead()
    response.flushHeaders()
    if (heartbeat !== undefined) beat(response, heartbeat)
    return Effect.raceFirst(sendStream(response, body.stream, writeStreamHead), cutOffOrStopping)
  })
}
