import { randomInt } from "node:crypto"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { StoreUnavailable } from "../../domain/Errors.js"
import type { Vm } from "../../domain/Vm.js"
import * as VmEventLog from "../VmEventLog.js"
import { changeOf, type UnnumberedEvent } from "../VmEventLog.js"
import type { VmEvents } from "../VmEvents.js"
import { toVm, type VmRow } from "../VmRow.js"
import { type Change, encode, type Notice, payloadsOf, reset } from "./ChangeNotices.js"
import type { Statement } from "./PostgresConnection.js"
import type { PostgresDatabase } from "./PostgresDatabase.js"
import { type Channel, listen, selectChannel } from "./VmChangeListener.js"
import { shownColumns } from "./VmJsonPostgres.js"

/** How long changes are collected for one notification. It costs about as much as a create. */
const collectMillis = 20
/** Between attempts to send or to listen. */
const retryMillis = 500
/** A change that a daemon has sent to the server takes effect within this time, or never. Statements are limited to 2.5 s. */
const settleMillis = 5_000
/** How long the end of a daemon may take. */
const goodbyeMillis = 1_000
/** Changes beyond these are one reset. */
const maxQueued = 10_000

const notify = ({ name }: Channel, payloads: ReadonlyArray<string>): Statement => ({
  name: "notify",
  text: "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload",
  values: [name, payloads]
})

const selectRecords = (ids: ReadonlyArray<string>): Statement => ({
  name: "changed",
  text: `SELECT ${shownColumns.join(", ")} FROM vms WHERE id = ANY($1)`,
  values: [ids]
})

/** The presence locks that are held. */
const selectPresent = ({ locks }: Channel): Statement => ({
  name: "present",
  text: `
    SELECT coalesce(string_agg(objid::text, ' '), '') AS keys FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND classid::bigint = $1::bigint & 4294967295
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  `,
  values: [locks]
})

/** Differs after each change: every one gives its row another `xmin`, or another row. */
const selectVersion: Statement = {
  name: "version",
  text: "SELECT concat(count(*), ' ', sum(hashtextextended(id, xmin::text::bigint))) AS version FROM vms"
}

/** Waits by the real clock: the network does not wait for a test's clock. */
const sleep = (millis: number) =>
  Effect.async<void>((resume) => {
    const timer = setTimeout(() => resume(Effect.void), millis)
    return Effect.sync(() => clearTimeout(timer))
  })

/** The events of a store over PostgreSQL. */
export interface PostgresEvents {
  readonly subscribe: VmEvents["Type"]["subscribe"]
  /**
   * Makes a change and publishes it, here and to the other daemons. `recordsOf` returns the record before and after it. Its
   * end is awaited also if the caller is interrupted.
   */
  readonly publishing: <A, E>(
    change: Effect.Effect<A, E | StoreUnavailable>,
    recordsOf: (result: A) => readonly [before: Vm | undefined, after: Vm | undefined]
  ) => Effect.Effect<A, E | StoreUnavailable>
}

/** Whether a change that failed may have been made. */
const isUnknown = (cause: Cause.Cause<unknown>): boolean =>
  Cause.isDie(cause) || Chunk.some(Cause.failures(cause), (error) => error instanceof StoreUnavailable)

const noticeOf = (event: UnnumberedEvent): Change => {
  switch (event.event) {
    case "created":
    case "updated":
      return { _tag: "written", event: event.event, id: event.data.id }
    case "deleted":
      return { _tag: "deleted", vm: event.data }
    default:
      return reset
  }
}

/**
 * Publishes this daemon's changes, and those of which other daemons notify it. A notification is sent after the commit, since
 * one within the transaction makes all commits wait for each other. Where it is missing, subscribers get a `reset`:
 * after a daemon ended without a word, after a lost connection, and after a change whose outcome is unknown.
 */
export const make = ({
  execute,
  executeOrUnavailable,
  session
}: PostgresDatabase["Type"]): Effect.Effect<PostgresEvents, StoreUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const [channel] = yield* executeOrUnavailable<Channel>(selectChannel)
    if (channel === undefined) return yield* Effect.dieMessage("the tables are there")
    const from = crypto.randomUUID()

    /** The key of this daemon's presence lock while it listens. */
    let ownKey: number | undefined
    /** The presence locks of all daemons that listen. */
    let present = new Set<number>()
    /** Those of daemons that have said goodbye. */
    const departed = new Set<number>()
    let lostAt: number | undefined
    const isPresenceLost = yield* Effect.makeLatch()
    const lookAtLocks = Effect.map(executeOrUnavailable<{ keys: string }>(selectPresent(channel)), ([row]) => {
      const before = present
      present = new Set(row?.keys.split(" ").map(Number))
      // A daemon holds its lock for a moment after its last word.
      for (const key of departed) if (!present.delete(key)) departed.delete(key)
      return Array.from(before).some((key) => !present.has(key))
    })
    /** Whether a daemon has ended without a word. What it had sent to the server may take effect a little later. */
    const hasLostDaemon = Effect.map(lookAtLocks, (isLost) => {
      // The server closes a broken connection, and another server has taken over.
      if (ownKey !== undefined && !present.has(ownKey)) isPresenceLost.unsafeOpen()
      const isSettled = lostAt !== undefined && performance.now() - lostAt >= settleMillis
      if (isLost) lostAt = performance.now()
      else if (isSettled) lostAt = undefined
      return isLost || isSettled
    })

    let version: string | undefined
    const hasNewVersion = Effect.map(executeOrUnavailable<{ version: string }>(selectVersion), ([row]) => {
      const isNew = row?.version !== version
      version = row?.version
      return isNew
    })

    /** Numbers what is begun and what is published, in their order. */
    let clock = 0
    let resetAt = 0
    const log = yield* VmEventLog.make(
      Effect.map(
        Effect.suspend(() => (ownKey === undefined ? hasNewVersion : hasLostDaemon)),
        (isReset) => {
          if (isReset) resetAt = ++clock
          return isReset
        }
      )
    )
    let changesInProgress = 0
    /** When an event of a record was published last, as long as there are changes in progress. */
    const publishedAt = new Map<string, number>()
    const append = (event: UnnumberedEvent) => {
      clock++
      if (!("id" in event.data)) resetAt = clock
      else if (changesInProgress > 0) publishedAt.set(event.data.id, clock)
      log.append(event)
    }
    const appendReset = () => append({ event: "reset", data: {} })

    /** Changes whose records are to be read, and the ids of those that are being read. */
    let incoming: Array<Change> = []
    let incomingIds = new Set<string>()
    let readIds = new Set<string>()
    const hasIncoming = yield* Effect.makeLatch()
    const receive = (change: Change) => {
      if (!log.isFollowed()) return
      if (incoming.length === maxQueued) incoming = [reset]
      incoming.push(change)
      if (change._tag === "written") incomingIds.add(change.id)
      hasIncoming.unsafeOpen()
    }
    const appendRead = (change: Change, records: ReadonlyMap<string, Vm>) => {
      if (change._tag === "reset") return appendReset()
      if (change._tag === "deleted") return append({ event: "deleted", data: change.vm })
      const data = records.get(change.id)
      // A record that was deleted since has an event of that.
      if (data !== undefined) append({ event: change.event, data })
    }
    const publishIncoming = Effect.gen(function* () {
      yield* hasIncoming.await
      hasIncoming.unsafeClose()
      const changes = incoming
      readIds = incomingIds
      incoming = []
      incomingIds = new Set()
      const rows = readIds.size === 0 ? [] : yield* execute<VmRow>(selectRecords(Array.from(readIds)))
      const records = new Map(rows.map(toVm).map((vm) => [vm.id, vm]))
      for (const change of changes) appendRead(change, records)
    }).pipe(
      Effect.catchAllCause((cause) =>
        Cause.isInterruptedOnly(cause)
          ? Effect.interrupt
          : Effect.zipLeft(Effect.logDebug(cause), Effect.sync(appendReset))
      ),
      Effect.ensuring(Effect.sync(() => readIds.clear()))
    )

    let outgoing: Array<Change> = []
    const hasOutgoing = yield* Effect.makeLatch()
    const send = (change: Change) => {
      if (outgoing.length === maxQueued) outgoing = [reset]
      outgoing.push(change)
      hasOutgoing.unsafeOpen()
    }
    const flush = Effect.suspend(() => {
      const changes = outgoing
      outgoing = []
      hasOutgoing.unsafeClose()
      return changes.length === 0
        ? Effect.void
        : Effect.tapError(execute(notify(channel, payloadsOf(from, changes))), () =>
            Effect.sync(() => {
              outgoing = [...changes, ...outgoing]
              hasOutgoing.unsafeOpen()
            })
          )
    }).pipe(Effect.uninterruptible)
    const sendOutgoing = Effect.gen(function* () {
      yield* hasOutgoing.await
      yield* sleep(collectMillis)
      yield* Effect.catchAll(flush, () => sleep(retryMillis))
    })

    /** Publishes a change that this daemon has made, between `begunAt` and now. */
    const publishOwn = (event: UnnumberedEvent, begunAt: number) => {
      send(noticeOf(event))
      if (ownKey === undefined || !("id" in event.data)) return
      const { id } = event.data
      const isOvertaken =
        resetAt > begunAt || (publishedAt.get(id) ?? 0) > begunAt || readIds.has(id) || incomingIds.has(id)
      // Another change may have been published that was made after this one.
      if (isOvertaken) receive(noticeOf(event))
      else append(event)
    }

    let unknownAt = 0
    let settling: NodeJS.Timeout | undefined
    const publishReset = () => {
      send(reset)
      appendReset()
    }
    /** A change may have been made, or will be within `settleMillis`. */
    const publishUnknown = () => {
      unknownAt = performance.now()
      if (settling !== undefined) return
      publishReset()
      const settle = () => {
        publishReset()
        const isSettled = performance.now() - unknownAt >= settleMillis
        settling = isSettled ? undefined : setTimeout(settle, settleMillis)
      }
      settling = setTimeout(settle, settleMillis)
    }
    yield* Effect.addFinalizer(() => Effect.sync(() => clearTimeout(settling)))

    const onNotice = ({ changes = [], from: sender, joined, left }: Notice) => {
      if (sender === from) return
      if (joined !== undefined) present.add(joined)
      if (left !== undefined) {
        present.delete(left)
        departed.add(left)
      }
      changes.forEach(receive)
    }
    const isTried = yield* Effect.makeLatch()
    const listenOnce = Effect.gen(function* () {
      const client = yield* session
      const key = randomInt(1, 2 ** 31)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          ownKey = undefined
          version = undefined
        })
      )
      const begin = Effect.gen(function* () {
        yield* execute(notify(channel, [encode({ from, joined: key })]))
        present = new Set()
        yield* lookAtLocks
        // A daemon that ended just before may have a statement under way: one more reset follows after `settleMillis`.
        lostAt = performance.now()
        isPresenceLost.unsafeClose()
        ownKey = key
        // What others changed meanwhile is not known here.
        appendReset()
        isTried.unsafeOpen()
      })
      yield* Effect.raceFirst(
        listen(client, channel, key, { begin, onNotice, isOwn: (payload) => payload.startsWith(`{"from":"${from}"`) }),
        isPresenceLost.await
      )
    }).pipe(
      Effect.scoped,
      Effect.catchAll((error) => Effect.logDebug("events of other daemons are not heard", error)),
      Effect.zipRight(Effect.sync(() => isTried.unsafeOpen())),
      Effect.zipRight(sleep(retryMillis))
    )

    for (const loop of [publishIncoming, sendOutgoing, listenOnce]) yield* Effect.forkScoped(Effect.forever(loop))
    yield* isTried.await
    const sayGoodbye = Effect.suspend(() => {
      const key = ownKey
      // With changes whose outcome is unknown, or that have not ended, others must list again.
      if (key === undefined || settling !== undefined || changesInProgress > 0) return flush
      return Effect.zipRight(flush, execute(notify(channel, [encode({ from, left: key })])))
    })
    // Only the two that race are interruptible: the race would wait for its loser, and a daemon that stops is interrupted.
    yield* Effect.addFinalizer(() =>
      Effect.raceFirst(Effect.interruptible(Effect.ignore(sayGoodbye)), Effect.interruptible(sleep(goodbyeMillis)))
    )

    return {
      subscribe: log.subscribe,
      publishing: (change, recordsOf) =>
        Effect.suspend(() => {
          const begunAt = ++clock
          changesInProgress++
          return Effect.onExit(change, (exit) =>
            Effect.sync(() => {
              if (Exit.isSuccess(exit)) {
                const event = changeOf(...recordsOf(exit.value))
                if (event !== undefined) publishOwn(event, begunAt)
              } else if (isUnknown(exit.cause)) publishUnknown()
              if (--changesInProgress === 0) publishedAt.clear()
            })
          )
        }).pipe(Effect.uninterruptible)
    }
  })
