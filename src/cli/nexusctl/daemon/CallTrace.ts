import { STATUS_CODES } from "node:http"
import * as HttpClient from "@effect/platform/HttpClient"
import type { HttpClientRequest } from "@effect/platform/HttpClientRequest"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type { Address } from "../../../domain/Address.js"
import { printErrorLines } from "../../../runtime/StandardStreams.js"
import { toSafeJson } from "../../../runtime/TerminalText.js"
import { shellWord } from "../../runner/ShellWord.js"

const urlOf = ({ hash, url, urlParams }: HttpClientRequest): string =>
  Either.match(UrlParams.makeUrl(url, urlParams, hash), { onLeft: () => url, onRight: String })

/** curl sends these by itself, or must not: the length of a pasted body may be another. */
const isLeftOut = (name: string): boolean => name === "content-length" || name === "accept"

/** The header lines. The shell that the line is pasted into has the token. */
const headerWords = ({ headers }: HttpClientRequest): ReadonlyArray<string> =>
  Object.entries(headers)
    .filter(([name]) => !isLeftOut(name))
    .flatMap(([name, value]) => [
      "-H",
      name === "authorization" ? `"Authorization: Bearer $NEXUS_TOKEN"` : shellWord(`${name}: ${value}`)
    ])

const bodyWords = ({ body }: HttpClientRequest): ReadonlyArray<string> =>
  body._tag === "Uint8Array"
    ? ["--data-raw", shellWord(toSafeJson(JSON.parse(Buffer.from(body.body).toString("utf8"))))]
    : []

/** The request as a command line of curl. */
const curlLine = (address: Address, request: HttpClientRequest): string =>
  [
    "curl",
    ...("path" in address ? ["--unix-socket", shellWord(address.path)] : []),
    ...(request.method === "GET" ? [] : ["-X", request.method]),
    ...headerWords(request),
    ...bodyWords(request),
    shellWord(urlOf(request))
  ].join(" ")

/**
 * An `HttpClient` that shows each call on stderr: a command line of curl, then, as a comment of a shell, the status, the time
 * until the head of the answer and the request's id.
 */
export const layer = (address: Address) =>
  Layer.function(HttpClient.HttpClient, HttpClient.HttpClient, (client) =>
    HttpClient.transform(client, (call, request) =>
      Effect.gen(function* () {
        yield* printErrorLines([curlLine(address, request)])
        const start = performance.now()
        const report = (outcome: string) => {
          const millis = Math.round(performance.now() - start)
          return printErrorLines([
            `# ${request.method} ${new URL(urlOf(request)).pathname}: ${outcome} in ${millis} ms`
          ])
        }
        return yield* call.pipe(
          Effect.tap(({ headers, status }) => {
            const id = headers["x-request-id"]
            const words = `${status} ${STATUS_CODES[status] ?? ""}`.trim()
            return report(id === undefined ? words : `${words}, request id ${id},`)
          }),
          Effect.tapError(() => report("no answer"))
        )
      })
    )
  )
