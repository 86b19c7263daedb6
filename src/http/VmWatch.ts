import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Vm } from "../domain/Vm.js"
import type { VmEvent } from "../domain/VmEvent.js"
import { matchesFilter, type VmFilter } from "../domain/VmQuery.js"
import { type CallError, isTransient } from "./CallError.js"
import { backoff, type EventStreamOptions, type ReconnectOptions } from "./VmEventStream.js"

/**
 * What a watch of the records that match a filter reports.
 *
 * - `listed` comes first, with all records that match, newest first.
 * - `created`, `updated` and `deleted` are changes of a record that matches; `deleted` has the record as it was last.
 * - `entered` is a record that matches after a change, and `left` one that no longer does.
 */
export type VmChange =
  | { readonly event: "listed"; readonly vms: ReadonlyArray<Vm> }
  | { readonly event: "created" | "deleted" | "entered"; readonly vm: Vm }
  | { readonly event: "updated" | "left"; readonly vm: Vm; readonly before: Vm }

/** The calls that a watch makes. */
interface Calls {
  readonly eventStream: (options: EventStreamOptions) => Stream.Stream<VmEvent, CallError>
  /** All records, newest first. */
  readonly list: (options: ReconnectOptions) => Stream.Stream<Vm, CallError>
}

/** Changes are held back no longer than this until the events have caught up with a list. */
const maxSettleMillis = 5000

/** As many as the daemon keeps. */
const maxEventsAhead = 10_000

const toText = (vm: Vm) => JSON.stringify(Object.entries(vm).sort(([a], [b]) => (a < b ? -1 : 1)))

type Change = (before: Vm | undefined, after: Vm | undefined) => ReadonlyArray<VmChange>

/** The change of one record from the view of those who see what matches. */
const makeChange =
  (matches: (vm: Vm) => boolean): Change =>
  (before, after) => {
    const wasSeen = before !== undefined && matches(before)
    const isSeen = after !== undefined && matches(after)
    if (wasSeen && isSeen) return toText(before) === toText(after) ? [] : [{ event: "updated", vm: after, before }]
    if (wasSeen) return [after === undefined ? { event: "deleted", vm: before } : { event: "left", vm: after, before }]
    if (isSeen) return [{ event: before === undefined ? "created" : "entered", vm: after }]
    return []
  }

type Records = Map<string, Vm>

/** All changes from some records to others. Deleted ones come first, since their names may be taken again. */
const changesBetween = (change: Change, before: Records, after: Records): ReadonlyArray<VmChange> => [
  ...Array.from(before.values()).flatMap((vm) => (after.has(vm.id) ? [] : change(vm, undefined))),
  ...Array.from(after.values()).flatMap((vm) => change(before.get(vm.id), vm))
]

const apply = (records: Records, id: string, vm: Vm | undefined): void => {
  if (vm === undefined) records.delete(id)
  else records.set(id, vm)
}

/** Makes the function behind `NexusClient`'s `watch`. */
export const makeWatch =
  ({ eventStream, list }: Calls) =>
  (filter: VmFilter = {}, options: ReconnectOptions = {}): Stream.Stream<VmChange, CallError> =>
    Stream.suspend(() => {
      const matches = matchesFilter(filter)
      const change = makeChange(matches)
      /** The records that were reported, those that don't match too. */
      let reported: Records | undefined
      /** The records of a newer list with the events since, until `lastEventId`. */
      let settling: { readonly records: Records; readonly lastEventId: string; readonly until: number } | undefined

      /** The id of the last event of the daemon. */
      const position = eventStream({ answerTimeout: options.answerTimeout }).pipe(
        Stream.runHead,
        Effect.flatMap(
          Option.match({
            onNone: () => Effect.dieMessage("a stream of events ended"),
            onSome: ({ id }) => Effect.succeed(id)
          })
        )
      )

      const listAgain = Effect.gen(function* () {
        const vms = Array.from(yield* Stream.runCollect(list(options)))
        return { vms, lastEventId: yield* position, until: (yield* Clock.currentTimeMillis) + maxSettleMillis }
      }).pipe(
        Effect.retry(Schedule.whileInput(backoff, (error: CallError) => reported !== undefined && isTransient(error)))
      )

      /**
       * A list may be newer than events that come after it. The last event of each record up to `lastEventId` is as new as
       * the list or newer; no event before is reported.
       */
      const settle = (eventId: string, now: number): ReadonlyArray<VmChange> => {
        if (settling === undefined || (eventId !== settling.lastEventId && now < settling.until)) return []
        const changes = changesBetween(change, reported ?? new Map(), settling.records)
        reported = settling.records
        settling = undefined
        return changes
      }

      const onList = (eventId: string) =>
        Effect.gen(function* () {
          const { vms, ...rest } = yield* listAgain
          const first: ReadonlyArray<VmChange> =
            reported === undefined ? [{ event: "listed", vms: vms.filter(matches) }] : []
          const records = new Map(vms.map((vm) => [vm.id, vm]))
          reported ??= new Map(records)
          settling = { records, ...rest }
          return [...first, ...settle(eventId, yield* Clock.currentTimeMillis)]
        })

      const onChange = (eventId: string, id: string, vm: Vm | undefined) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          if (settling !== undefined) {
            apply(settling.records, id, vm)
            return settle(eventId, now)
          }
          const changes = change(reported?.get(id), vm)
          if (reported !== undefined) apply(reported, id, vm)
          return changes
        })

      const onEvent = (event: VmEvent): Effect.Effect<ReadonlyArray<VmChange>, CallError> => {
        switch (event.event) {
          case "created":
          case "updated":
            return onChange(event.id, event.data.id, event.data)
          case "deleted":
            return onChange(event.id, event.data.id, undefined)
          default:
            return onList(event.id)
        }
      }

      return eventStream(options).pipe(
        // The daemon disconnects those who do not read, and a list takes its time.
        Stream.buffer({ capacity: maxEventsAhead }),
        Stream.mapEffect(onEvent),
        Stream.flattenIterables
      )
    })
