import type { IncomingMessage } from "node:http"
import { preview } from "../../domain/Schemas.js"
import { BadRequest, PayloadTooLarge, UnsupportedMediaType } from "../HttpErrors.js"
import { countHeader } from "./Headers.js"

const maxBodyBytes = 1024 * 1024

const bodyTooLarge = () =>
  new PayloadTooLarge({ message: `the body is larger than ${maxBodyBytes} bytes, the most a request may hold` })

/** RFC 9112, 6.3: a request has a body if it has a transfer coding or a length above zero. */
export const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

/** Exactly `application/json`, whatever its parameters: no web page can send that to another site without a preflight. */
const isJson = (contentType: string | undefined) =>
  contentType?.split(";", 1)[0]?.trim().toLowerCase() === "application/json"

/** What is wrong with a request's body, as far as its head says. */
export const checkBodyHeaders = (request: IncomingMessage): UnsupportedMediaType | PayloadTooLarge | undefined => {
  if (!hasBody(request)) return undefined
  if (!isJson(request.headers["content-type"]) || countHeader(request, "content-type") !== 1) {
    return new UnsupportedMediaType({ message: "the body must be sent with one Content-Type, application/json" })
  }
  const encoding = request.headers["content-encoding"]
  if (encoding) {
    return new UnsupportedMediaType({
      message: `the body must be sent as it is, without Content-Encoding ${preview(encoding)}`
    })
  }
  return Number(request.headers["content-length"] ?? 0) > maxBodyBytes ? bodyTooLarge() : undefined
}

/** Maximum depth of nested values: the errors of a schema are built recursively. */
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

const utf8 = new TextDecoder()

const parse = (body: Buffer): BadRequest | { readonly json: unknown } => {
  if (isTooDeep(body)) return new BadRequest({ message: `the body is nested deeper than ${maxDepth} levels` })
  try {
    return { json: JSON.parse(utf8.decode(body)) }
  } catch (error) {
    return new BadRequest({ message: `the body is not valid JSON: ${String(error).replace(/^\w+: /, "")}` })
  }
}

/** Milliseconds for which the rest of a body that is too large is read: a response before its end could be lost. */
const lingerMillis = 5_000

/**
 * Reads a body and parses its JSON; a body that no header announces is empty. Plain listeners: an Effect per body costs
 * more than all else in here.
 */
export const readJson = (
  request: IncomingMessage,
  onDone: (body: BadRequest | PayloadTooLarge | { readonly json: unknown }) => void
): void => {
  if (!hasBody(request)) return void onDone(parse(Buffer.alloc(0)))
  const chunks: Array<Buffer> = []
  let size = 0
  let linger: NodeJS.Timeout | undefined
  let isDone = false
  const done = (outcome: Parameters<typeof onDone>[0]) => {
    clearTimeout(linger)
    if (isDone) return
    isDone = true
    onDone(outcome)
  }
  request.on("data", (chunk: Buffer) => {
    size += chunk.length
    if (size <= maxBodyBytes) return void chunks.push(chunk)
    chunks.length = 0
    linger ??= setTimeout(() => done(bodyTooLarge()), lingerMillis)
  })
  request.once("end", () => {
    const [first, ...rest] = chunks
    if (size > maxBodyBytes) done(bodyTooLarge())
    else done(parse(first !== undefined && rest.length === 0 ? first : Buffer.concat(chunks)))
  })
  request.once("error", () => done(new BadRequest({ message: "the body ended before it was complete" })))
}
