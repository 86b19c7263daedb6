import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { countFailedCommit, observeCommit } from "./CommitMetrics.js"
import { isBusy, isSqlError } from "./SqliteErrors.js"

/** A change in the queue. `since` is in milliseconds since the epoch. */
interface PendingChange<E> {
  readonly since: number
  /** The caller was interrupted before the change ran. */
  isAbandoned: boolean
  /** Runs the change. Returns a function that delivers the result to the caller, for after the commit. */
  readonly run: Effect.Effect<() => void, SqlError>
  readonly fail: (cause: Cause.Cause<E | SqlError>) => void
}

/** How long a change waits for another process's lock. Clients time out after 5 s. */
const lockTimeoutMillis = 4_000
const retryInterval = "20 millis"

/**
 * Group commit: changes of one event-loop turn, or that arrive during a commit, share the next one, since a sync costs more
 * than a change. Results are delivered only after the commit; a failed commit fails all its changes. A change that fails
 * with a typed error fails alone, and must not have written anything.
 *
 * `onCommit` is called with the results of changes in the order in which they ran, after their commit, also if the caller
 * was interrupted meanwhile. `commit` runs its argument in one durable transaction.
 */
export const make = <E>(
  commit: <A>(body: Effect.Effect<A, SqlError>) => Effect.Effect<A, E | SqlError>
): Effect.Effect<
  <A, E1>(
    change: Effect.Effect<A, E1 | SqlError>,
    onCommit?: (result: A) => void
  ) => Effect.Effect<A, E | E1 | SqlError>,
  never,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const hasPending = yield* Effect.makeLatch()
    let pending: Array<PendingChange<E>> = []

    const commitNext = Effect.gen(function* () {
      yield* hasPending.await
      yield* yieldToEventLoop
      const batch = pending.filter(({ isAbandoned: abandoned }) => !abandoned)
      pending = []
      hasPending.unsafeClose()
      if (batch.length === 0) return
      const begun = performance.now()
      const exit = yield* Effect.exit(commit(Effect.forEach(batch, ({ run }) => run)))
      if (Exit.isSuccess(exit)) {
        observeCommit(batch.length, performance.now() - begun)
        for (const deliver of exit.value) deliver()
        return
      }

      countFailedCommit()
      const error = Cause.squash(exit.cause)
      const now = yield* Clock.currentTimeMillis
      const canRetry = ({ since }: PendingChange<E>) =>
        isSqlError(error) && isBusy(error) && now - since < lockTimeoutMillis
      for (const { fail } of batch.filter((change) => !canRetry(change))) fail(exit.cause)
      const retried = batch.filter(canRetry)
      if (retried.length > 0) {
        yield* Effect.sleep(retryInterval)
        pending = [...retried, ...pending]
        hasPending.unsafeOpen()
      }
    })
    yield* Effect.forkScoped(Effect.forever(commitNext))

    return <A, E1>(change: Effect.Effect<A, E1 | SqlError>, onCommit: (result: A) => void = () => {}) =>
      Effect.withFiberRuntime<A, E | E1 | SqlError>(({ currentSpan }) =>
        Effect.flatMap(Clock.currentTimeMillis, (since) =>
          Effect.async<A, E | E1 | SqlError>((resume) => {
            const entry: PendingChange<E> = {
              since,
              isAbandoned: false,
              // The fiber that commits has none of its own.
              run: Effect.flatMap(
                Effect.exit(currentSpan === undefined ? change : Effect.withParentSpan(change, currentSpan)),
                (exit) => {
                  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
                  if (isSqlError(error)) return Effect.fail(error)
                  return Effect.succeed(() => {
                    if (Exit.isSuccess(exit)) onCommit(exit.value)
                    resume(exit)
                  })
                }
              ),
              fail: (cause) => resume(Effect.failCause(cause))
            }
            pending.push(entry)
            hasPending.unsafeOpen()
            return Effect.sync(() => {
              entry.isAbandoned = true
            })
          })
        )
      )
  })
