import type { IncomingMessage } from "node:http"
import * as Effect from "effect/Effect"
import { show } from "../domain/Bounds.js"
import { BadRequest, PayloadTooLarge, UnsupportedMediaType } from "./ApiErrors.js"

/** The most that a request's body may hold: 1 MiB. */
const maxBodyBytes = 1024 * 1024

const tooLarge = new PayloadTooLarge({
  error: `the body is larger than ${maxBodyBytes} bytes, the most a request may hold`
})

/** RFC 9110, 6.4: a request has a body if it says how long it is or how it is transferred. */
export const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

/**
 * Exactly `application/json`, whatever its parameters: a web page can't send that to another site unasked. Of several
 * Content-Type lines node:http's `headers` has the first alone.
 */
const isJson = ({ headersDistinct }: IncomingMessage) => {
  const [type, ...more] = headersDistinct["content-type"] ?? []
  return more.length === 0 && type?.split(";", 1)[0]?.trim().toLowerCase() === "application/json"
}

const mediaTypeProblem = (request: IncomingMessage): string | undefined => {
  if (!isJson(request)) return "the body must be sent with one Content-Type, application/json"
  const encoding = request.headers["content-encoding"]
  return encoding && `the body must be sent as it is, without Content-Encoding ${show(encoding)}`
}

/** How deep the values of a body may be nested: what explains a wrong value is recursive, and runs out of stack. */
const maxDepth = 32

const isTooDeep = (body: Buffer): boolean => {
  let depth = 0
  let inString = false
  for (let index = 0; index < body.length && depth <= maxDepth; index++) {
    const byte = body[index]
    if (byte === 0x22) inString = !inString
    else if (inString && byte === 0x5c) index++
    else if (!inString && (byte === 0x5b || byte === 0x7b)) depth++
    else if (!inString && (byte === 0x5d || byte === 0x7d)) depth--
  }
  return depth > maxDepth
}

/** Milliseconds for which a body that is too large is read on: an answer before its end would be lost with the connection. */
const patience = 5_000

/** Reads a body; what is beyond the limit is read and dropped. */
const readBody = (request: IncomingMessage) =>
  Effect.async<Buffer, PayloadTooLarge | BadRequest>((resume) => {
    const chunks: Array<Buffer> = []
    let size = 0
    let deadline: NodeJS.Timeout | undefined
    request.on("data", (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBodyBytes) return void chunks.push(chunk)
      chunks.length = 0
      deadline ??= setTimeout(() => resume(Effect.fail(tooLarge)), patience)
    })
    request.once("end", () =>
      resume(size > maxBodyBytes ? Effect.fail(tooLarge) : Effect.succeed(Buffer.concat(chunks)))
    )
    request.once("error", () => resume(Effect.fail(new BadRequest({ error: "the body ended before it was complete" }))))
    request.once("close", () => clearTimeout(deadline))
  })

const utf8 = new TextDecoder()

const parse = (body: Buffer) =>
  Effect.try({
    try: (): unknown => JSON.parse(utf8.decode(body)),
    catch: (error) => new BadRequest({ error: `the body is not valid JSON: ${String(error).replace(/^\w+: /, "")}` })
  })

/**
 * What a request's body says, if the route takes one; node:http drops what nobody reads. A body of a wrong type or size
 * is refused whether or not it would be read.
 */
export const readJson = (
  request: IncomingMessage,
  isTaken: boolean
): Effect.Effect<unknown, BadRequest | PayloadTooLarge | UnsupportedMediaType> => {
  if (hasBody(request)) {
    const problem = mediaTypeProblem(request)
    if (problem !== undefined) return new UnsupportedMediaType({ error: problem })
    if (Number(request.headers["content-length"] ?? 0) > maxBodyBytes) return tooLarge
  }
  if (!isTaken) return Effect.succeed(undefined)
  const reading = hasBody(request) ? readBody(request) : Effect.succeed(Buffer.alloc(0))
  return Effect.flatMap(reading, (body) =>
    isTooDeep(body) ? new BadRequest({ error: `the body is nested deeper than ${maxDepth} levels` }) : parse(body)
  )
}
