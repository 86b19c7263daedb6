import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { createParser, type EventSourceMessage } from "eventsource-parser"

/** The most characters that are kept of an event that is not complete. */
const maxBufferSize = 16_000_000

const tooLarge = () =>
  ParseResult.parseError(
    new ParseResult.Type(Schema.String.ast, undefined, `an event has over ${maxBufferSize} characters`)
  )

/** The messages of a `text/event-stream`, without comments. */
export const parseServerSentEvents = <E, R>(
  bytes: Stream.Stream<Uint8Array, E, R>
): Stream.Stream<EventSourceMessage, E | ParseResult.ParseError, R> =>
  Stream.suspend(() => {
    const messages: Array<EventSourceMessage> = []
    const parser = createParser({ onEvent: (message) => messages.push(message), maxBufferSize })
    return Stream.mapChunksEffect(Stream.decodeText(bytes), (texts) =>
      Effect.try({
        try: () => {
          for (const text of texts) parser.feed(text)
          return Chunk.unsafeFromArray(messages.splice(0))
        },
        // The parser throws nothing else.
        catch: tooLarge
      })
    )
  })
