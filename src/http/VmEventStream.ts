import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { DaemonTimeout } from "../domain/Errors.js"
import { VmEvent } from "../domain/VmEvent.js"
import { type CallError, isTransient } from "./CallError.js"
import { parseServerSentEvents } from "./ServerSentEvents.js"

/** Options of streams that connect again when their connection is lost. */
export interface ReconnectOptions {
  /** How long an answer may take to begin. 10 seconds by default. */
  readonly answerTimeout?: Duration.DurationInput | undefined
  /** Runs once a connection is lost, before the first attempt to connect again. */
  readonly onDisconnect?: ((error: CallError) => Effect.Effect<void>) | undefined
  /** Runs once there is a connection again. */
  readonly onReconnect?: Effect.Effect<void> | undefined
}

/** Which events to follow. */
export interface EventStreamOptions extends ReconnectOptions {
  /** The id of the last event that was received: those after it follow. Without it, those from now on. */
  readonly since?: string | undefined
}

/** Asks for the events after one; succeeds with the body of the answer. */
type Follow = (lastEventId: string | undefined) => Effect.Effect<Stream.Stream<Uint8Array, CallError>, CallError>

/** The daemon sends a comment every 15 s. */
const maxSilence = Duration.seconds(45)

/** The default of `answerTimeout`. */
const defaultAnswerTimeout = Duration.seconds(10)

const timeout = (duration: Duration.DurationInput) => new DaemonTimeout({ seconds: Duration.toSeconds(duration) })

/** Fails a call whose answer takes too long. */
export const withAnswerTimeout =
  (duration: Duration.DurationInput = defaultAnswerTimeout) =>
  <A, E, R>(call: Effect.Effect<A, E, R>): Effect.Effect<A, E | DaemonTimeout, R> =>
    Effect.timeoutFail(call, { duration, onTimeout: () => timeout(duration) })

/** Between two attempts: 0.1 s, then twice as long each time, up to 5 s. */
export const backoff = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.jittered
)

const isKnownEvent = Schema.is(Schema.Union(...VmEvent.members.map(({ fields }) => fields.event)))
const decodeJson = Schema.decode(Schema.parseJson())
const decodeEvent = Schema.decodeUnknown(VmEvent)

/** The events of one connection. Fails when it is lost, which is how a daemon that stops ends it. */
const connect = (follow: Follow, lastEventId: string | undefined, answerTimeout: Duration.DurationInput | undefined) =>
  Stream.unwrap(withAnswerTimeout(answerTimeout)(follow(lastEventId))).pipe(
    Stream.timeoutFail(() => timeout(maxSilence), maxSilence),
    parseServerSentEvents,
    // A newer daemon may send others.
    Stream.filter(({ event }) => isKnownEvent(event)),
    Stream.mapEffect(({ data, event, id }) =>
      Effect.flatMap(decodeJson(data), (data) => decodeEvent({ event, id, data }))
    )
  )

/** Makes the function behind `NexusClient`'s `eventStream`. */
export const makeEventStream =
  (follow: Follow) =>
  (options: EventStreamOptions = {}): Stream.Stream<VmEvent, CallError> =>
    Stream.suspend(() => {
      const { answerTimeout, onDisconnect, onReconnect = Effect.void, since } = options
      let lastEventId = since
      let [isConnected, hasConnected] = [false, false]

      /** What a connection begins with: nothing if it resumes, and `reset` if it should but can't. */
      const begin = (ready: VmEvent, isResumed: boolean): Option.Option<VmEvent> => {
        if (isResumed) return Option.none()
        return Option.some(hasConnected || since !== undefined ? { event: "reset", id: ready.id, data: {} } : ready)
      }

      const connection = Stream.suspend(() => {
        const isResumed = lastEventId !== undefined
        return Stream.mapEffect(connect(follow, lastEventId, answerTimeout), (event) => {
          const shown = event.event === "ready" ? begin(event, isResumed) : Option.some(event)
          const isBack = hasConnected && !isConnected
          lastEventId = event.id
          isConnected = hasConnected = true
          return Effect.as(isBack ? onReconnect : Effect.void, shown)
        })
      })

      return connection.pipe(
        Stream.catchTag("Gone", () => {
          lastEventId = undefined
          return connection
        }),
        Stream.tapError((error) => {
          const isLost = isConnected && isTransient(error)
          isConnected = false
          return isLost && onDisconnect !== undefined ? onDisconnect(error) : Effect.void
        }),
        Stream.retry(Schedule.whileInput(backoff, (error: CallError) => hasConnected && isTransient(error))),
        Stream.filterMap((event) => event)
      )
    })
