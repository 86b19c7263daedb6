import * as FastCheck from "effect/FastCheck"
import { type OpenApiDocument, type Operation, resolve, type Schema } from "./OpenApiDocument.js"

/** Bytes to send on a connection. */
export interface RawRequest {
  readonly bytes: Buffer
}

/** A request that is HTTP, whether or not it is valid for the API. */
export interface ApiRequest extends RawRequest {
  readonly method: string
  /** Undefined if the document has no such path, or no such method for it. */
  readonly operation: Operation | undefined
  /** Whether the body is a JSON object with a field that the document does not have. */
  readonly hasUnknownField: boolean
}

/** FastCheck prints a counterexample as the text of its bytes. */
const printable = <A extends RawRequest>(request: A): A =>
  Object.assign(request, { [FastCheck.toStringMethod]: () => JSON.stringify(request.bytes.toString("latin1", 0, 600)) })

const strangeTexts = [
  "",
  " ",
  "-",
  ..."\u0000 \u0001 \ufeff \u200b \u202e \ud800 \udfff é é 💥 ﷽ İ ß ſ Ａ ٣ ' \" \\ / .. % %00 ?a=b #x {{7}} <b> ;-- \r\n".split(
    " "
  ),
  "a".repeat(63),
  "a".repeat(64),
  "x".repeat(5_000),
  "__proto__",
  "constructor",
  "toString",
  "null",
  "undefined",
  "NaN",
  "' OR 1=1 --",
  "../../etc/passwd",
  "00000000-0000-4000-8000-000000000000"
]
const strangeText = FastCheck.constantFrom(...strangeTexts)
const extreme = FastCheck.constantFrom(0, -0, -1, 1, 1.5, 33, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 63), 1e308, 5e-324, 0.1)

const strangeValue: FastCheck.Arbitrary<unknown> = FastCheck.oneof(
  strangeText,
  extreme,
  FastCheck.constantFrom(null, true, false),
  FastCheck.jsonValue({ maxDepth: 2 }),
  FastCheck.tuple(strangeText),
  FastCheck.tuple(strangeText, extreme).map(([key, value]) => ({ [key]: value }))
)

/** Values that match a schema. Few names, so that requests meet each other's records. */
const matching = (schema: Schema, name: string): FastCheck.Arbitrary<unknown> => {
  if (schema.enum !== undefined) return FastCheck.constantFrom(...schema.enum)
  if (schema.type === "integer") return FastCheck.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? 1_000 })
  return name === "name" || name === "nameOrId" ? FastCheck.nat(11).map((index) => `vm-${index}`) : strangeText
}

const nestedJson = FastCheck.tuple(FastCheck.constantFrom(10, 1_000, 50_000), FastCheck.nat(2)).map(([depth, shape]) =>
  shape === 0
    ? `${"[".repeat(depth)}${"]".repeat(depth)}`
    : shape === 1
      ? `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`
      : "[".repeat(depth)
)

interface Body {
  readonly text: string
  readonly hasUnknownField?: boolean
}

const toBody = (text: string): Body => ({ text })

/** Bodies that match a schema, and bodies that almost do. */
const bodyOf = (document: OpenApiDocument, given: Schema): FastCheck.Arbitrary<Body> => {
  const { properties = {}, required = [] } = resolve(document, given)
  const names = Object.keys(properties)
  const fields = FastCheck.record(
    Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, matching(schema, name)])),
    { requiredKeys: [...required] }
  )
  const oneName = names.length === 0 ? strangeText : FastCheck.constantFrom(...names)
  const json = (value: unknown) => toBody(JSON.stringify(value) ?? "")
  const almost = FastCheck.oneof(
    FastCheck.tuple(fields, oneName, strangeValue).map(([all, name, value]) => json({ ...all, [name]: value })),
    FastCheck.tuple(fields, oneName).map(([all, name]) =>
      json(Object.fromEntries(Object.entries(all).filter(([key]) => key !== name)))
    ),
    FastCheck.tuple(fields, strangeText, strangeValue).map(([all, name, value]) => ({
      text: JSON.stringify(Object.fromEntries([...Object.entries(all), [name, value]])),
      hasUnknownField: !names.includes(name)
    })),
    // A name twice, and numbers that JSON.stringify does not write.
    fields.map((all) =>
      toBody(
        `{${Object.entries(all)
          .map(([name, value]) => `"${name}":${JSON.stringify(value)},"${name}":1e999`)
          .join()}}`
      )
    ),
    FastCheck.constantFrom("01", "1e0", "-0", "0x1", "1.0", "9".repeat(400), "+1", "NaN").map((number) =>
      toBody(`{"name":"x","vcpu_count":${number}}`)
    ),
    strangeValue.map(json),
    nestedJson.map(toBody),
    nestedJson.map((text) => toBody(`{"name":${text}}`)),
    FastCheck.tuple(fields, FastCheck.nat(19)).map(([all, length]) => toBody(JSON.stringify(all).slice(0, length))),
    FastCheck.nat(999).map((count) => toBody(`{"name":"${"\\u0000".repeat(count)}"}`)),
    FastCheck.constantFrom(100_000, 1_048_576).map((length) => json({ name: "y".repeat(length) }))
  )
  return FastCheck.oneof({ weight: 4, arbitrary: fields.map(json) }, { weight: 6, arbitrary: almost })
}

const percentEncode = (text: string) => encodeURIComponent(text.replace(/\p{Surrogate}/gu, "?"))
const brokenEncoding = FastCheck.constantFrom(
  ...["%", "%zz", "%ff", "%c0%af", "%00", "%2e%2e", "%2F", "a;b", "a,b", "a+b"]
)
const encoded = (text: FastCheck.Arbitrary<string>) =>
  FastCheck.oneof({ weight: 9, arbitrary: text.map(percentEncode) }, { weight: 1, arbitrary: brokenEncoding })

/** The value of a parameter, as it stands in the URL. */
const parameterValue = (name: string, schema: Schema) =>
  encoded(
    FastCheck.oneof({ weight: 6, arbitrary: matching(schema, name).map(String) }, { weight: 4, arbitrary: strangeText })
  )

/** `undefined` in one of two cases. */
const maybe = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined, freq: 1 })
const isDefined = <A>(value: A | undefined): value is A => value !== undefined

/** `undefined` but once in twenty cases. */
const unknownParameter = FastCheck.oneof(
  { weight: 19, arbitrary: FastCheck.constant(undefined) },
  { weight: 1, arbitrary: encoded(strangeText).map((name) => `${name}=1`) }
)

const contentType = FastCheck.oneof(
  { weight: 9, arbitrary: FastCheck.constant("application/json") },
  { weight: 1, arbitrary: FastCheck.constantFrom("text/plain", "application/json; charset=x", "", "é") }
)

const requestTo = (
  document: OpenApiDocument,
  port: number,
  path: string,
  method: string
): FastCheck.Arbitrary<ApiRequest> => {
  const operation = document.paths[path]?.[(method === "HEAD" ? "GET" : method).toLowerCase()]
  const segments = path.split("/").map((segment) => {
    const name = /^\{(\w+)\}$/.exec(segment)?.[1]
    return name === undefined ? FastCheck.constant(segment) : parameterValue(name, { type: "string" })
  })
  const query = (operation?.parameters ?? [])
    .filter((parameter) => parameter.in === "query")
    .map(({ name, schema }) => maybe(parameterValue(name, schema).map((value) => `${name}=${value}`)))
  const schema = operation?.requestBody?.content?.["application/json"]?.schema
  const body = FastCheck.option(bodyOf(document, schema ?? {}), { nil: undefined, freq: 19 })
  const strayBody = FastCheck.oneof(
    { weight: 9, arbitrary: FastCheck.constant(undefined) },
    { weight: 1, arbitrary: body }
  )
  return FastCheck.record({
    segments: FastCheck.tuple(...segments),
    query: FastCheck.tuple(...query, unknownParameter),
    body: schema === undefined ? strayBody : body,
    contentType
  }).map(({ segments, query, body, contentType }) => {
    const search = query.filter(isDefined).join("&")
    const content = Buffer.from(body?.text ?? "")
    const head = [
      `${method} ${segments.join("/")}${search === "" ? "" : `?${search}`} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Connection: close",
      ...(body === undefined ? [] : [`Content-Type: ${contentType}`, `Content-Length: ${content.length}`])
    ]
    return printable({
      bytes: Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`, "latin1"), content]),
      method,
      // With an empty segment it is another path.
      operation: segments.slice(1).includes("") ? undefined : operation,
      hasUnknownField: schema !== undefined && body?.hasUnknownField === true
    })
  })
}

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]

/** Requests made from the document, valid and not. */
export const apiRequest = (document: OpenApiDocument, port: number): FastCheck.Arbitrary<ApiRequest> =>
  FastCheck.constantFrom(...Object.entries(document.paths)).chain(([path, operations]) =>
    FastCheck.oneof(
      { weight: 9, arbitrary: FastCheck.constantFrom(...Object.keys(operations).map((name) => name.toUpperCase())) },
      { weight: 1, arbitrary: FastCheck.constantFrom(...methods) }
    ).chain((method) => requestTo(document, port, path, method))
  )

const bytes = (maxLength: number) =>
  FastCheck.uint8Array({ minLength: 1, maxLength }).map((content) => Buffer.from(content))

type Mutation = (valid: Buffer, at: number) => Buffer

const replacedPart = FastCheck.constantFrom(
  /Connection: close/,
  /HTTP\/1\.1/,
  /Content-Length: \d+/,
  /^\S+ \S+/,
  /Host: /
)
const replacement = FastCheck.constantFrom(
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: gzip, chunked\r\nContent-Length: 3",
  "Content-Length: -1",
  "Content-Length: 99999999999999999999",
  "Content-Length: 1\r\nContent-Length: 2",
  "Expect: 100-continue\r\nConnection: close",
  "Connection: Upgrade\r\nUpgrade: websocket",
  "CONNECT 127.0.0.1:1",
  "GET http://evil.example/v1/vms",
  "POST *",
  "POST *:99999/",
  "POST ftp://x/v1/vms",
  "POST //x:99999/v1/vms",
  "POST http:///v1/vms",
  "PRI *",
  "HTTP/9.9",
  "Host : ",
  "\r\n\r\n",
  "\n"
)

const mutation: FastCheck.Arbitrary<Mutation> = FastCheck.oneof(
  FastCheck.constant<Mutation>((valid, at) => valid.subarray(0, at)),
  bytes(5).map(
    (inserted): Mutation =>
      (valid, at) =>
        Buffer.concat([valid.subarray(0, at), inserted, valid.subarray(at)])
  ),
  FastCheck.nat(7).map(
    (bit): Mutation =>
      (valid, at) =>
        Buffer.from(valid.map((byte, index) => (index === at ? byte ^ (1 << bit) : byte)))
  ),
  FastCheck.integer({ min: 1, max: 10 }).map(
    (count): Mutation =>
      (valid, at) =>
        Buffer.concat([valid.subarray(0, at), valid.subarray(at + count)])
  ),
  FastCheck.constant<Mutation>((valid, at) => Buffer.concat([valid.subarray(0, at), valid])),
  FastCheck.tuple(replacedPart, replacement).map(
    ([part, text]): Mutation =>
      (valid) =>
        Buffer.from(valid.toString("latin1").replace(part, text), "latin1")
  )
)

/** Bytes that are no request, and requests with some bytes changed. */
export const garbledRequest = (document: OpenApiDocument, port: number): FastCheck.Arbitrary<RawRequest> =>
  FastCheck.oneof(
    { weight: 3, arbitrary: bytes(300) },
    {
      weight: 7,
      arbitrary: FastCheck.tuple(apiRequest(document, port), FastCheck.nat(), mutation).map(([request, at, mutate]) =>
        mutate(request.bytes, at % request.bytes.length)
      )
    }
  ).map((content) => printable({ bytes: content }))
