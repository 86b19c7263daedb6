import * as Http from "node:http"

/** A daemon, or another HTTP server, as `http://127.0.0.1:43210`. */
interface Target {
  readonly url: string
}

interface RequestOptions {
  /** By default the request has a connection of its own. */
  readonly agent?: Http.Agent | undefined
  readonly headers?: Http.OutgoingHttpHeaders
  /** Sent as JSON. */
  readonly content?: unknown
  /** Sent as it is. */
  readonly text?: string | undefined
}

export interface TextAnswer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
}

export interface JsonAnswer {
  readonly status: number
  /** `undefined` where the body is empty. */
  readonly body: unknown
}

/** The connection failed before the whole answer had arrived. */
export class ConnectionLost extends Error {
  constructor(
    cause: Error,
    /** The status, if the head of the answer had arrived. */
    readonly status: number | undefined,
    /** Whether an earlier request used the same connection: the server may have closed it while idle. */
    readonly isReused: boolean
  ) {
    super(cause.message, { cause })
  }
}

/** Makes one request and reads its answer as text. Fails with `ConnectionLost`. */
export const sendRequest = (
  { url }: Target,
  method: string,
  path: string,
  { agent, content, headers, text = content === undefined ? undefined : JSON.stringify(content) }: RequestOptions = {}
): Promise<TextAnswer> =>
  new Promise((resolve, reject) => {
    const options = {
      method,
      headers: { ...(content !== undefined && { "content-type": "application/json" }), ...headers },
      agent: agent ?? false
    }
    const request = Http.request(`${url}${path}`, options, (response) => {
      const status = response.statusCode ?? 0
      let received = ""
      response.setEncoding("utf8").on("data", (part: string) => {
        received += part
      })
      response.once("error", (error) => reject(new ConnectionLost(error, status, request.reusedSocket)))
      response.once("end", () => resolve({ status, headers: response.headers, text: received }))
    })
    request.once("error", (error) => reject(new ConnectionLost(error, undefined, request.reusedSocket)))
    request.end(text)
  })

const toJson = ({ status, text }: TextAnswer): JsonAnswer => ({
  status,
  body: text === "" ? undefined : JSON.parse(text)
})

/** Makes one request on a connection of its own. Fails with `ConnectionLost`. */
export const call = async (target: Target, method: string, path: string, content?: unknown): Promise<JsonAnswer> =>
  toJson(await sendRequest(target, method, path, { content }))

const agent = new Http.Agent({ keepAlive: true })

/** Makes one request on a connection that is kept. Returns `undefined` if the connection was lost. */
export const tryCall = async (target: Target, method: string, path: string, content?: unknown) => {
  const answer = await sendRequest(target, method, path, { agent, content }).catch(() => undefined)
  return answer && toJson(answer)
}
