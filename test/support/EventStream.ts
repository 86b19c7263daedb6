import * as Http from "node:http"

/** A server-sent event as it came over the wire. */
export interface ServerSentEvent {
  readonly event: string
  readonly id: string
  /** JSON text. */
  readonly data: string
}

/** An open `GET /v1/events`. */
export interface EventStream {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  /** The next event; `undefined` once the stream has ended, however it ended. */
  readonly next: () => Promise<ServerSentEvent | undefined>
  /** The comments so far. */
  readonly comments: ReadonlyArray<string>
  /** Whether the daemon ended the stream with its last chunk. */
  readonly isComplete: () => boolean
  readonly close: () => void
}

const parse = (frame: string): ServerSentEvent => {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(frame)?.[1] ?? ""
  return { event: field("event"), id: field("id"), data: field("data") }
}

/** Follows the events of a daemon, after the event `since`. Fails if there is no answer. */
export const openEvents = (
  { url }: { readonly url: string },
  since?: string,
  headers: Http.OutgoingHttpHeaders = {}
): Promise<EventStream> =>
  new Promise((resolve, reject) => {
    const path = `/v1/events${since === undefined ? "" : `?since=${encodeURIComponent(since)}`}`
    const request = Http.get(`${url}${path}`, { agent: false, headers }, (response) => {
      const events: Array<ServerSentEvent> = []
      const comments: Array<string> = []
      const waiting: Array<() => void> = []
      let rest = ""
      let hasEnded = false
      const wake = () => {
        for (const resume of waiting.splice(0)) resume()
      }
      response.setEncoding("utf8").on("data", (part: string) => {
        const frames = (rest + part).split("\n\n")
        rest = frames.pop() ?? ""
        for (const frame of frames) {
          if (frame.startsWith(":")) comments.push(frame)
          else events.push(parse(frame))
        }
        wake()
      })
      response.on("error", () => {})
      response.once("close", () => {
        hasEnded = true
        wake()
      })
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        comments,
        next: async () => {
          while (events.length === 0 && !hasEnded) await new Promise<void>((resume) => waiting.push(resume))
          return events.shift()
        },
        isComplete: () => response.complete,
        close: () => request.destroy()
      })
    })
    request.once("error", reject)
  })

/** The next `count` events. Fails if the stream ends before. */
export const takeEvents = async ({ next }: EventStream, count: number): Promise<ReadonlyArray<ServerSentEvent>> => {
  const taken: Array<ServerSentEvent> = []
  while (taken.length < count) {
    const event = await next()
    if (event === undefined) throw new Error(`the stream ended after ${taken.length} of ${count} events`)
    taken.push(event)
  }
  return taken
}
