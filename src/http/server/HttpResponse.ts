import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"

export type Headers = Readonly<Record<string, string>>

/** A body that goes on until the client disconnects or the server stops. */
export interface Endless {
  /** Sent every 15 s, so that both sides notice a connection that is broken. */
  readonly heartbeat?: string
  /** Closes the connection when it succeeds, also while the client does not read. */
  readonly cutOff?: Effect.Effect<void>
}

type Body<A, E> =
  | { readonly _tag: "Value"; readonly value: A }
  | { readonly _tag: "Bytes"; readonly bytes: string | Uint8Array }
  | { readonly _tag: "Stream"; readonly stream: Stream.Stream<Uint8Array, E>; readonly endless: Endless | undefined }

interface Options {
  /** One of the statuses that the endpoint declares; by default its first success. */
  readonly status?: number
  readonly headers?: Headers
}

/** A handler's response that says more than its endpoint's success: a status, headers, or a body of another form. */
export class HttpResponse<out A, out E = never> {
  private constructor(
    readonly body: Body<A, E> | undefined,
    readonly status: number | undefined,
    readonly headers: Headers
  ) {}

  /** Whether its body goes on until the client disconnects or the server stops. */
  get isEndless(): boolean {
    return this.body?._tag === "Stream" && this.body.endless !== undefined
  }

  /** A value of the endpoint's success, sent as JSON. */
  static readonly value = <A>(value: A, { headers = {}, status }: Options = {}) =>
    new HttpResponse<A>({ _tag: "Value", value }, status, headers)

  /** No body, such as 304 (RFC 9110, 15.4.5). */
  static readonly empty = ({ headers = {}, status }: Options = {}) =>
    new HttpResponse<never>(undefined, status, headers)

  /** A whole body of any media type. */
  static readonly bytes = (contentType: string, bytes: string | Uint8Array, { headers = {}, status }: Options = {}) =>
    new HttpResponse<never>({ _tag: "Bytes", bytes }, status, { "content-type": contentType, ...headers })

  /**
   * A body that is sent as the stream yields it; the head goes out with the first chunk. The client must read all of it
   * within 60 s, unless the stream is endless. An endless one's head goes out at once, the request counts as long-lived,
   * and the connection is closed when the server stops: the client can tell that the stream was cut off.
   */
  static readonly stream = <E>(
    contentType: string,
    stream: Stream.Stream<Uint8Array, E>,
    { endless, headers = {}, status }: Options & { readonly endless?: Endless | undefined } = {}
  ) =>
    new HttpResponse<never, E>({ _tag: "Stream", stream, endless }, status, {
      "content-type": contentType,
      ...headers
    })
}
