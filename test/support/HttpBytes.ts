import * as Net from "node:net"
import * as Effect from "effect/Effect"
import { formatAddress } from "../../src/domain/Address.js"

/** Where a server listens on this machine. */
export interface TestAddress {
  readonly host: string
  readonly port: number
}

/** An HTTP answer as it came over the wire. Header names are in lower case. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

type Part<A> = { readonly value: A; readonly rest: Buffer }

/** Reads a chunked body (RFC 9112 §7.1), without trailers; `undefined` if it is incomplete. */
const parseChunks = (bytes: Buffer): Part<Buffer> | undefined => {
  const parts: Array<Buffer> = []
  for (let rest = bytes; ; ) {
    const lineEnd = rest.indexOf("\r\n")
    const size = Number.parseInt(rest.toString("latin1", 0, lineEnd), 16)
    const end = lineEnd + 2 + size
    if (lineEnd === -1 || !(rest.length >= end + 2)) return undefined
    if (size === 0) return { value: Buffer.concat(parts), rest: rest.subarray(end + 2) }
    parts.push(rest.subarray(lineEnd + 2, end))
    rest = rest.subarray(end + 2)
  }
}

const parseBody = (bytes: Buffer, headers: Answer["headers"]): Part<Buffer> | undefined => {
  if (headers["transfer-encoding"] === "chunked") return parseChunks(bytes)
  const length = Number(headers["content-length"] ?? 0)
  return bytes.length < length ? undefined : { value: bytes.subarray(0, length), rest: bytes.subarray(length) }
}

/** Reads the first answer (RFC 9112); `undefined` if it is incomplete. Fails if the bytes are not HTTP. */
export const parseAnswer = (bytes: Buffer, isHead = false): Part<Answer> | undefined => {
  const headEnd = bytes.indexOf("\r\n\r\n")
  if (headEnd === -1) return undefined
  const [statusLine = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n")
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(statusLine)?.[1])
  if (!(status > 0)) throw new Error(`not an HTTP answer: ${JSON.stringify(bytes.toString("latin1", 0, 200))}`)
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(":")
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    })
  )
  const after = bytes.subarray(headEnd + 4)
  const hasBody = !isHead && status >= 200 && status !== 204 && status !== 304
  const body = hasBody ? parseBody(after, headers) : { value: Buffer.alloc(0), rest: after }
  return body && { value: { status, headers, body: body.value.toString("utf8") }, rest: body.rest }
}

/** Reads all final answers. Fails if the last one is truncated. */
const parseAnswers = (bytes: Buffer, isHead = false): ReadonlyArray<Answer> => {
  if (bytes.length === 0) return []
  const first = parseAnswer(bytes, isHead)
  if (first === undefined) throw new Error(`truncated answer: ${JSON.stringify(bytes.toString("latin1", 0, 200))}`)
  const rest = parseAnswers(first.rest, isHead)
  return first.value.status < 200 ? rest : [first.value, ...rest]
}

/**
 * Writes the bytes on one connection and reads until the server closes it, as `Connection: close` asks. A server may
 * close before it has read everything: what it sent until then counts.
 */
export const sendBytes = (address: TestAddress, bytes: string | Uint8Array): Effect.Effect<ReadonlyArray<Answer>> =>
  Effect.async<Buffer>((resume) => {
    const received: Array<Buffer> = []
    const socket = Net.connect({ ...address, allowHalfOpen: true })
    socket.on("data", (data) => received.push(data))
    socket.once("end", () => socket.destroy())
    socket.on("error", () => {})
    socket.once("close", () => resume(Effect.succeed(Buffer.concat(received))))
    socket.write(bytes)
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.timeout("60 seconds"),
    Effect.orDie,
    Effect.map((received) => parseAnswers(received, Buffer.from(bytes.slice(0, 5)).toString("latin1") === "HEAD "))
  )

/** Writes the bytes, waits until they are sent, and resets the connection without reading. */
export const sendAndHangUp = (address: TestAddress, bytes: string | Uint8Array): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const socket = Net.connect(address)
    socket.on("error", () => {})
    socket.once("close", () => resume(Effect.void))
    socket.write(bytes, () => socket.resetAndDestroy())
  })

export interface Request {
  readonly method?: string
  readonly path: string
  /** A default that is set to `undefined` is left out. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly body?: string | Uint8Array
}

/** The bytes of a request. By default a body is JSON, with its length. */
export const requestBytes = (address: TestAddress, { body, headers, method = "GET", path }: Request): Uint8Array => {
  const all: Request["headers"] = {
    host: formatAddress(address),
    connection: "close",
    ...(body === undefined
      ? {}
      : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
    ...headers
  }
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`]))
  const head = `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body ?? "")])
}
