import type { IncomingMessage } from "node:http"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as Effect from "effect/Effect"
import { show } from "../domain/Bounds.js"
import { BadRequest, PayloadTooLarge, UnsupportedMediaType } from "./ApiErrors.js"

/** The most that a request's body may hold: 1 MiB. */
const maxBodyBytes = 1024 * 1024

const tooLarge = new PayloadTooLarge({
  error: `the body is larger than ${maxBodyBytes} bytes, the most a request may hold`
})

type Headers = Readonly<Record<string, string | ReadonlyArray<string> | undefined>>

/** RFC 9110, 6.4: a request has a body if it says how long it is or how it is transferred. */
export const hasBody = ({ headers }: { readonly headers: Headers }): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

/** Exactly `application/json`, whatever its parameters: a web page can't send that to another site unasked. */
const isJson = ({ headers }: IncomingMessage) =>
  headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase() === "application/json"

const mediaTypeProblem = (source: IncomingMessage): string | undefined => {
  if (!isJson(source)) return "the body must be sent as Content-Type: application/json"
  const encoding = source.headers["content-encoding"]
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
const readBody = (source: IncomingMessage) =>
  Effect.async<Buffer, PayloadTooLarge | BadRequest>((resume) => {
    const chunks: Array<Buffer> = []
    let size = 0
    let deadline: NodeJS.Timeout | undefined
    source.on("data", (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBodyBytes) return void chunks.push(chunk)
      chunks.length = 0
      deadline ??= setTimeout(() => resume(Effect.fail(tooLarge)), patience)
    })
    source.once("end", () =>
      resume(size > maxBodyBytes ? Effect.fail(tooLarge) : Effect.succeed(Buffer.concat(chunks)))
    )
    source.once("error", () => resume(Effect.fail(new BadRequest({ error: "the body ended before it was complete" }))))
    source.once("close", () => clearTimeout(deadline))
  })

/**
 * The request with its body read, checked for type and size. HttpApi itself parses any type as JSON and knows no limit
 * that leaves room for an answer.
 */
export const withCheckedBody = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const source = NodeHttpServerRequest.toIncomingMessage(request)
  if (!hasBody(request)) return request
  const problem = mediaTypeProblem(source)
  if (problem !== undefined) return yield* new UnsupportedMediaType({ error: problem })
  if (Number(source.headers["content-length"] ?? 0) > maxBodyBytes) return yield* tooLarge
  // No other call takes a body; node:http drops what nobody reads.
  if (request.method !== "POST") return request
  const headers = { "content-type": "application/json" }
  const body = yield* readBody(source)
  if (isTooDeep(body)) return yield* new BadRequest({ error: `the body is nested deeper than ${maxDepth} levels` })
  return HttpServerRequest.fromWeb(new Request("http://localhost", { method: request.method, headers, body })).modify({
    url: request.url
  })
})
