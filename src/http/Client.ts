import type * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Address, formatAddress } from "../domain/Address.js"
import type { Vm } from "../domain/Vm.js"
import { matchesFilter, parseCursor, VmCursor, type VmFilter, type VmQuery } from "../domain/VmQuery.js"
import { Api } from "./Api.js"
import type { CallError } from "./CallError.js"
import { makeEventStream, withAnswerTimeout } from "./VmEventStream.js"
import { makeWatch } from "./VmWatch.js"

type Response = HttpClientResponse.HttpClientResponse

export type { VmChange } from "./VmWatch.js"

/** A response whose body is left to the caller. */
class Unread extends Data.TaggedError("Unread")<{ readonly response: HttpClientResponse.HttpClientResponse }> {}

/** An `HttpClient` whose calls fail with the response of status 200, unread. Derived clients read a body to its end. */
const unread = (httpClient: HttpClient.HttpClient) =>
  HttpClient.transformResponse(
    httpClient,
    Effect.flatMap((response) => (response.status === 200 ? new Unread({ response }) : Effect.succeed(response)))
  )

/** The response of a call that `unread` makes. */
const toUnread = <E>(call: Effect.Effect<unknown, E | Unread>): Effect.Effect<Response, Exclude<E, Unread>> =>
  call.pipe(
    Effect.zipRight(Effect.dieMessage("a body of status 200 was read")),
    Effect.catchIf(
      (error) => error instanceof Unread,
      ({ response }) => Effect.succeed(response)
    )
  )

const makeLogStream =
  (httpClient: HttpClient.HttpClient, baseUrl: string) =>
  ({ path, urlParams }: Omit<Request<Calls["vms"]["logs"]>, "withResponse">) =>
    HttpApiClient.endpoint(Api, { group: "vms", endpoint: "logs", baseUrl, httpClient: unread(httpClient) }).pipe(
      Effect.flatMap((logs) => toUnread(logs({ path, urlParams }))),
      Effect.map(({ stream }) => stream)
    )

/** Events go on until the daemon stops: an answer that ends was cut off. */
const cutOff = (response: Response) =>
  new HttpClientError.ResponseError({ request: response.request, response, reason: "Decode", description: "it ended" })

const makeFollow =
  (httpClient: HttpClient.HttpClient, baseUrl: string) =>
  (lastEventId: string | undefined): Effect.Effect<Stream.Stream<Uint8Array, CallError>, CallError> =>
    HttpApiClient.endpoint(Api, { group: "events", endpoint: "follow", baseUrl, httpClient: unread(httpClient) }).pipe(
      Effect.flatMap((follow) =>
        toUnread(follow({ urlParams: {}, headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId } }))
      ),
      Effect.map((response) => Stream.concat(response.stream, cutOff(response)))
    )

type Calls =
  typeof Api extends HttpApi.HttpApi<"nexus", infer Groups, infer Errors>
    ? HttpApiClient.Client<Groups, Errors, never>
    : never

type Request<Call> = Call extends (request: infer Request) => unknown ? Request : never
type Success<Call> = Call extends (request: never) => Effect.Effect<infer Success, unknown> ? Success : never
type Failure<Call> = Call extends (request: never) => Effect.Effect<unknown, infer Failure> ? Failure : never
type Answered = readonly [unknown, HttpClientResponse.HttpClientResponse]

type OptionalHeaders<Request> = Request extends { readonly headers: infer Headers }
  ? Omit<Request, "headers" | "withResponse"> & { readonly headers?: Headers }
  : never

/** Derived calls of which those that take headers also go without them. */
type WithOptionalHeaders<Calls> = {
  readonly [Name in keyof Calls]: [Request<Calls[Name]>] extends [{ readonly headers: object }]
    ? <WithResponse extends boolean = false>(
        request: OptionalHeaders<Request<Calls[Name]>> & { readonly withResponse?: WithResponse }
      ) => Effect.Effect<
        WithResponse extends true ? Extract<Success<Calls[Name]>, Answered> : Exclude<Success<Calls[Name]>, Answered>,
        Failure<Calls[Name]>
      >
    : Calls[Name]
}

/** A derived call, made at its first use. The library's calls need `headers`, even where each of them is optional. */
const lazily = <Request, A, E>(derive: Effect.Effect<(request: Request) => Effect.Effect<A, E>>) => {
  let call: ((request: Request) => Effect.Effect<A, E>) | undefined
  return (request: Request) => {
    call ??= Effect.runSync(derive)
    return call({ headers: {}, ...request })
  }
}

/** The calls of the API. To derive all of them takes a tenth of the time of a short command. */
const makeCalls = (httpClient: HttpClient.HttpClient, baseUrl: string) =>
  Object.fromEntries(
    Object.values(Api.groups).map(({ endpoints, identifier: group }) => [
      group,
      Object.fromEntries(
        Object.values(endpoints).map(({ name: endpoint }) => [
          endpoint,
          lazily(HttpApiClient.endpoint(Api, { group, endpoint, baseUrl, httpClient }))
        ])
      )
    ])
  ) as { readonly [Group in keyof Calls]: WithOptionalHeaders<Calls[Group]> }

/** The cursor in a `Link` header, as text. */
const nextCursor = ({ headers }: Response): string | undefined =>
  /[?&]cursor=([^&>]+)[^>]*>; *rel="next"/.exec(headers["link"] ?? "")?.[1]

const decodeCursor = Schema.decode(VmCursor)

/** Records page by page. A daemon of the step 4 plan sends all as one page, and does not know `name_prefix`. */
const makeListStream =
  <E>(list: (urlParams: VmQuery) => Effect.Effect<[ReadonlyArray<Vm>, Response], E>) =>
  (filter: VmFilter = {}, pageSize = 1000) =>
    Stream.paginateChunkEffect(undefined as VmCursor | undefined, (cursor) =>
      Effect.gen(function* () {
        const [page, response] = yield* list({ ...filter, limit: pageSize, ...(cursor && { cursor }) })
        const next = page.length === 0 ? undefined : nextCursor(response)
        return [
          Chunk.unsafeFromArray(page.filter(matchesFilter(filter))),
          next === undefined ? Option.none() : Option.some(yield* decodeCursor(next))
        ] as const
      })
    )

const make = (baseUrl: string, token?: string) =>
  Effect.gen(function* () {
    const withoutToken = yield* HttpClient.HttpClient
    const httpClient =
      token === undefined ? withoutToken : HttpClient.mapRequest(withoutToken, HttpClientRequest.bearerToken(token))
    const { events, ...groups } = makeCalls(httpClient, baseUrl)
    const listPage = (urlParams: VmQuery) => groups.vms.list({ urlParams, withResponse: true })
    const eventStream = makeEventStream(makeFollow(httpClient, baseUrl))
    return {
      ...groups,
      /**
       * The records that match, newest first. A page of up to `pageSize` records (1 to 1000) is requested when the
       * stream needs it: `client.listStream({ role: "work" })`.
       */
      listStream: makeListStream(listPage),
      /** Like `vms.logs`, as a stream of bytes: for `follow`, and for bytes that are not UTF-8. */
      logStream: makeLogStream(httpClient, baseUrl),
      /**
       * Changes as they happen: `ready` first, then `created`, `updated` and `deleted`. When the connection is lost it
       * connects again, and resumes after the last event. Where events in between are missing the next is `reset`: list the
       * records again. Fails if the first attempt to connect does, and if the daemon refuses to go on.
       */
      eventStream,
      /**
       * The records that match, and then each change of them, exactly once: `client.watch({ role: "work" })`. It connects
       * as `eventStream` does. After a `reset` it lists again by itself, and reports the differences.
       */
      watch: makeWatch({
        eventStream,
        list: ({ answerTimeout }) =>
          makeListStream((urlParams) => withAnswerTimeout(answerTimeout)(listPage(urlParams)))()
      })
    }
  })

/**
 * The API as functions: `client.vms.create({ payload: CreateVm.make({ name: "web" }) })`. A call fails with the errors
 * that `Api` declares for it, with an `HttpClientError` when the daemon can't be reached, or with a `ParseError` when
 * it answers with something else.
 */
export class NexusClient extends Context.Tag("nexus/NexusClient")<
  NexusClient,
  Effect.Effect.Success<ReturnType<typeof make>>
>() {
  /**
   * Where the next page begins, after an answer to `list` that a `limit` cut short:
   * `client.vms.list({ urlParams: { limit: 100 }, withResponse: true })` gives the records and their answer.
   */
  static readonly nextPage = (response: Response): VmCursor | undefined => {
    const cursor = nextCursor(response)
    return cursor === undefined ? undefined : parseCursor(cursor)
  }

  /**
   * The entity tag of the record in an answer, to change only that version of it:
   * `client.vms.get({ path, withResponse: true })` gives both, and
   * `client.vms.update({ path, headers: { "if-match": tag }, payload })` fails with `PreconditionFailed` if it has changed.
   * Daemons of the step 4 plan send none.
   */
  static readonly entityTag = ({ headers }: Response): string | undefined => headers["etag"]

  /**
   * A client of the daemon at `address`, over any `HttpClient`, with the token that the daemon asks for, if any. Over a
   * Unix socket, it is for the `HttpClient` to connect there.
   */
  static readonly layer = (address: Address, token?: string): Layer.Layer<NexusClient, never, HttpClient.HttpClient> =>
    Layer.effect(NexusClient, make("path" in address ? "http://localhost" : `http://${formatAddress(address)}`, token))

  /** A client of the daemon behind an origin, such as a page's own: `https://nexus.example`. */
  static readonly layerOrigin = (origin: string): Layer.Layer<NexusClient, never, HttpClient.HttpClient> =>
    Layer.effect(NexusClient, make(origin))
}
