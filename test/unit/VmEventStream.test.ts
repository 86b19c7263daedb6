import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Gone } from "../../src/domain/Errors.js"
import type { VmEvent } from "../../src/domain/VmEvent.js"
import type { CallError } from "../../src/http/CallError.js"
import { Overloaded, Unauthorized } from "../../src/http/HttpErrors.js"
import { type EventStreamOptions, makeEventStream } from "../../src/http/VmEventStream.js"
import { record } from "../support/Records.js"

type Body = Stream.Stream<Uint8Array, CallError>

const overloaded = new Overloaded({ message: "busy" })
const bytes = (...texts: ReadonlyArray<string>): Body => Stream.fromIterable(texts.map((text) => Buffer.from(text)))
const event = (name: string, id: string, data: object = {}) =>
  `event: ${name}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`
const ready = (id: string) => event("ready", id)
/** A connection that is lost after these bytes. */
const lost = (...texts: ReadonlyArray<string>): Body => Stream.concat(bytes(...texts), Stream.fail(overloaded))
const open = (...texts: ReadonlyArray<string>): Body => Stream.concat(bytes(...texts), Stream.never)

/** Follows a daemon that answers one connection after the other with these. Times are those of `TestClock`. */
const follow = (answers: ReadonlyArray<Body | CallError>, options: EventStreamOptions = {}) => {
  const asked: Array<string | undefined> = []
  const log: Array<string> = []
  const stream = makeEventStream((lastEventId) =>
    Effect.suspend((): Effect.Effect<Body, CallError> => {
      const answer = answers[asked.length] ?? Stream.never
      asked.push(lastEventId)
      return "_tag" in answer ? Effect.fail(answer) : Effect.succeed(answer)
    })
  )({
    onDisconnect: ({ _tag }) => Effect.sync(() => log.push(`lost: ${_tag}`)),
    onReconnect: Effect.sync(() => log.push("back")),
    ...options
  })
  return { asked, log, stream }
}

/** The first `count` events, while time passes. */
const take = (stream: Stream.Stream<VmEvent, CallError>, count: number) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(Stream.runCollect(Stream.take(stream, count)))
    for (let step = 0; step < 5; step++) yield* TestClock.adjust("6 seconds")
    return Chunk.toReadonlyArray(yield* Fiber.join(fiber))
  })

describe("the stream of events", () => {
  const web = record("wéb-🦄")

  it.effect("decodes events, however their bytes are cut", () =>
    Effect.gen(function* () {
      const text = `:\n\n${ready("a-0")}:\n\n${event("created", "a-1", web)}${event("paused", "a-2", web)}${event("deleted", "a-3", { id: web.id, name: web.name })}`
      const expected = [
        { event: "ready", id: "a-0", data: {} },
        { event: "created", id: "a-1", data: web },
        { event: "deleted", id: "a-3", data: { id: web.id, name: web.name } }
      ]
      for (const whole of [text, text.replaceAll("\n", "\r\n")]) {
        for (const size of [1, 2, 7, 1000]) {
          const all = Buffer.from(whole)
          const parts = Array.from({ length: Math.ceil(all.length / size) }, (_, n) =>
            all.subarray(n * size, (n + 1) * size)
          )
          const { stream } = follow([Stream.concat(Stream.fromIterable(parts), Stream.never)])
          expect(yield* take(stream, 3)).toStrictEqual(expected)
        }
      }
    })
  )

  it.effect("resumes after the last event when the connection is lost", () =>
    Effect.gen(function* () {
      const { asked, log, stream } = follow([
        lost(ready("a-0"), event("created", "a-1", web)),
        overloaded,
        lost(ready("a-1"), event("updated", "a-2", web)),
        open(ready("a-2"), event("updated", "a-3", web))
      ])
      expect((yield* take(stream, 4)).map(({ event, id }) => `${event} ${id}`)).toEqual([
        "ready a-0",
        "created a-1",
        "updated a-2",
        "updated a-3"
      ])
      expect(asked).toEqual([undefined, "a-1", "a-1", "a-2"])
      expect(log).toEqual(["lost: Overloaded", "back", "lost: Overloaded", "back"])
    })
  )

  it.effect("sends reset where events are missing, also if the daemon ends once more before", () =>
    Effect.gen(function* () {
      const gone = Gone.events("a-0")
      const { asked, stream } = follow([lost(ready("a-0")), gone, overloaded, open(ready("b-7"))])
      expect(yield* take(stream, 2)).toEqual([
        { event: "ready", id: "a-0", data: {} },
        { event: "reset", id: "b-7", data: {} }
      ])
      expect(asked).toEqual([undefined, "a-0", undefined, undefined])
      const since = follow([gone, open(ready("b-7"))], { since: "a-0" })
      expect(yield* take(since.stream, 1)).toEqual([{ event: "reset", id: "b-7", data: {} }])
    })
  )

  it.effect("takes a connection for lost that is silent for 45 s, and not before", () =>
    Effect.gen(function* () {
      const comments = Stream.tick("15 seconds").pipe(
        Stream.map(() => Buffer.from(":\n\n")),
        Stream.take(10)
      )
      const { asked, log, stream } = follow([Stream.concat(bytes(ready("a-0")), Stream.concat(comments, Stream.never))])
      const fiber = yield* Effect.fork(Stream.runDrain(stream))
      yield* TestClock.adjust("179 seconds")
      expect([asked.length, log]).toEqual([1, []])
      yield* TestClock.adjust("2 seconds")
      expect([asked.length, log]).toEqual([2, ["lost: DaemonTimeout"]])
      yield* Fiber.interrupt(fiber)
    })
  )

  it.effect("waits longer and longer between attempts, up to 6 s, and short again after an event", () =>
    Effect.gen(function* () {
      const { asked, stream } = follow([
        lost(ready("a-0")),
        ...Array.from({ length: 30 }, () => overloaded),
        lost(ready("a-0")),
        open(ready("a-0"), event("updated", "a-1", web))
      ])
      const fiber = yield* Effect.fork(Stream.runCollect(Stream.take(stream, 2)))
      yield* TestClock.adjust("1 seconds")
      expect(asked.length).toBeGreaterThanOrEqual(4)
      expect(asked.length).toBeLessThanOrEqual(5)
      while (asked.length < 32) yield* TestClock.adjust("6 seconds")
      yield* TestClock.adjust("120 millis")
      expect(asked.length).toBe(33)
      expect(yield* Fiber.join(fiber)).toHaveLength(2)
    })
  )

  it.effect("fails if the first attempt fails, if an answer is late, and if the daemon refuses", () =>
    Effect.gen(function* () {
      const errorOf = ({ stream }: ReturnType<typeof follow>) => Effect.flip(take(stream, 2))
      expect(yield* errorOf(follow([overloaded]))).toBe(overloaded)
      const refused = new Unauthorized({ message: "no" })
      expect(yield* errorOf(follow([lost(ready("a-0")), refused]))).toBe(refused)
      const late = makeEventStream(() => Effect.never)({ answerTimeout: "5 seconds" })
      expect(yield* Effect.flip(take(late, 1))).toMatchObject({ _tag: "DaemonTimeout", seconds: 5 })
      expect(yield* errorOf(follow([open(ready("a-0"), "event: created\nid: a-1\ndata: {\n\n")]))).toMatchObject({
        _tag: "ParseError"
      })
    })
  )
})
