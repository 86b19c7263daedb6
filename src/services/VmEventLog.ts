import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Gone, type StoreUnavailable } from "../domain/Errors.js"
import type { Vm } from "../domain/Vm.js"
import type { VmEvent } from "../domain/VmEvent.js"
import * as PacedWakeUps from "../runtime/PacedWakeUps.js"
import { changeSubscribers, countEvent, countLagging } from "./EventMetrics.js"
import * as VmEventRing from "./VmEventRing.js"
import type { VmEvents, VmSubscription } from "./VmEvents.js"
import { isSameVm } from "./VmRow.js"

/** How far back a subscriber may resume, and how far it may be behind. Sizes are about those of the JSON. */
const limits: VmEventRing.RingLimits = { entries: 10_000, bytes: 16 * 1024 * 1024, chunkBytes: 64 * 1024 }

/** The JSON of a record without `config_json` is rarely larger, with what stands around it. */
const recordBytes = 512

/** Between two looks for changes of others, and for subscribers that have stalled. */
const lookInterval = "1 second"

/** A subscriber that has taken nothing for so many looks, while there was something, has stalled. */
const maxStalledLooks = 60

/** The least time between two wake-ups per subscriber: to resume one and to write its chunk takes about half of it. */
const pauseMillisPerSubscriber = 0.1

/** An event that has no id yet. */
export type UnnumberedEvent<Event = VmEvent> = Event extends unknown ? Omit<Event, "id"> : never

interface Subscriber {
  /** The number of the last event that it has taken. */
  taken: number
  takenAtLook: number
  stalledLooks: number
  readonly lagged: Deferred.Deferred<void>
}

/** The events of this process, for the layers of `VmEvents`. */
export interface VmEventLog {
  readonly subscribe: VmEvents["Type"]["subscribe"]
  /**
   * Publishes a committed change, in constant time; changes must come in commit order. `before` is undefined for a new record,
   * `after` for a deleted one; nothing is published if both are the same.
   */
  readonly publish: (before: Vm | undefined, after: Vm | undefined) => void
  /** Publishes an event in constant time. */
  readonly append: (event: UnnumberedEvent) => void
  /** Whether events are kept, which begins with the first subscription. */
  readonly isFollowed: () => boolean
}

/** The event of a change, if a reader of the record sees it. */
export const changeOf = (before: Vm | undefined, after: Vm | undefined): UnnumberedEvent | undefined => {
  if (after === undefined) return before && { event: "deleted", data: { id: before.id, name: before.name } }
  if (before === undefined) return { event: "created", data: after }
  return isSameVm(before, after) ? undefined : { event: "updated", data: after }
}

/**
 * Makes a log that keeps the last 10,000 events in memory, from the first subscription on. It buffers nothing per subscriber:
 * each reads the log at its own position, and is too far behind once its next event is dropped.
 *
 * `look` returns whether changes have happened since it last ran that are not published one by one; `reset` is published
 * then. It runs before each subscription, and once a second while there are subscribers.
 */
export const make = (look: Effect.Effect<boolean, StoreUnavailable>): Effect.Effect<VmEventLog, never, Scope.Scope> =>
  Effect.gen(function* () {
    // Ids of another process must not be taken for this one's.
    const epoch = crypto.randomUUID()
    const ring = VmEventRing.make<VmEvent>(limits)
    const subscribers = new Set<Subscriber>()
    const hasSubscribers = yield* Effect.makeLatch()
    const wakeUps = PacedWakeUps.make(() => subscribers.size * pauseMillisPerSubscriber)
    let isFollowed = false

    const idOf = (number: number) => `${epoch}-${number}`
    const numberOf = (id: string): number | undefined => {
      const number = Number(id.slice(epoch.length + 1))
      return id === idOf(number) && ring.has(number) ? number : undefined
    }

    const append = (event: UnnumberedEvent) => {
      // Nobody has an id to resume from.
      if (!isFollowed) return
      const text = "config_json" in event.data ? event.data.config_json : undefined
      ring.append({ ...event, id: idOf(ring.last() + 1) }, recordBytes + (text?.length ?? 0))
      countEvent(event.event)
      wakeUps.wake()
    }

    const lookForOthers = Effect.map(look, (isChanged) => {
      if (isChanged) append({ event: "reset", data: {} })
    })
    /** Whether a subscriber is too far behind, or has taken nothing for too long. */
    const isLagging = (subscriber: Subscriber) => {
      const { taken, takenAtLook } = subscriber
      subscriber.stalledLooks = taken === takenAtLook && taken < ring.last() ? subscriber.stalledLooks + 1 : 0
      subscriber.takenAtLook = taken
      return subscriber.stalledLooks >= maxStalledLooks || !ring.has(taken)
    }
    const lookAgain = Effect.gen(function* () {
      yield* hasSubscribers.await
      yield* Effect.sleep(lookInterval)
      yield* Effect.ignore(lookForOthers)
      for (const subscriber of Array.from(subscribers).filter(isLagging)) {
        if (yield* Deferred.succeed(subscriber.lagged, undefined)) countLagging()
      }
    })
    yield* Effect.forkScoped(Effect.forever(lookAgain))

    const remove = (subscriber: Subscriber) => {
      if (subscribers.delete(subscriber)) changeSubscribers(-1)
      if (subscribers.size === 0) hasSubscribers.unsafeClose()
    }

    /** The next chunk of a subscriber, which begins with `ready`. */
    const take = (subscriber: Subscriber, ready: VmEvent): Effect.Effect<Chunk.Chunk<VmEvent>, Option.Option<never>> =>
      Effect.suspend(() => {
        if (!subscribers.has(subscriber)) {
          subscribers.add(subscriber)
          changeSubscribers(1)
          hasSubscribers.unsafeOpen()
          return Effect.succeed(Chunk.of(ready))
        }
        const chunk = ring.read(subscriber.taken)
        if (chunk === undefined) return Effect.fail(Option.none())
        subscriber.taken += chunk.length
        return chunk.length > 0
          ? Effect.succeed(chunk)
          : Effect.zipRight(
              wakeUps.wait(() => subscriber.taken !== ring.last()),
              take(subscriber, ready)
            )
      })

    const subscribe = (since?: string): Effect.Effect<VmSubscription, Gone | StoreUnavailable> =>
      Effect.gen(function* () {
        yield* lookForOthers
        isFollowed = true
        const number = since === undefined ? ring.last() : numberOf(since)
        if (number === undefined) return yield* Gone.events(`${since}`)
        const lagged = yield* Deferred.make<void>()
        const events = Stream.suspend(() => {
          const subscriber: Subscriber = { taken: number, takenAtLook: number, stalledLooks: 0, lagged }
          // More combinators would double the cost of a chunk.
          return Stream.repeatEffectChunkOption(take(subscriber, { event: "ready", id: idOf(number), data: {} })).pipe(
            Stream.ensuring(Effect.sync(() => remove(subscriber)))
          )
        })
        return { events, lagged: Deferred.await(lagged) }
      })

    return {
      subscribe,
      append,
      isFollowed: () => isFollowed,
      publish: (before, after) => {
        const change = isFollowed ? changeOf(before, after) : undefined
        if (change !== undefined) append(change)
      }
    }
  })
