import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import { isBusy, isSqlError } from "./SqliteErrors.js"

/** A change that waits for the next commit. */
interface Waiting<E> {
  readonly since: number
  /** Its caller has gone before it was carried out. */
  abandoned: boolean
  /** Carries the change out; gives back what tells its caller the outcome, once that is durable. */
  readonly run: Effect.Effect<() => void, SqlError>
  readonly fail: (cause: Cause.Cause<E | SqlError>) => void
}

/** How long a change waits for another process's lock: less than the 5 s after which clients give a daemon up. */
const patience = 4_000
const retryEvery = "20 millis"

/**
 * Lets changes that come together share a commit, since making a commit durable costs more than any change in it. What
 * arrives while one is under way goes into the next. Nobody hears of an outcome before the commit; a commit that fails
 * fails every change in it. A change that fails by itself, other than by SQL, fails alone: it must have written nothing.
 *
 * `commit` runs its argument in one durable transaction.
 */
export const make = <E>(
  commit: <A>(body: Effect.Effect<A, SqlError>) => Effect.Effect<A, E | SqlError>
): Effect.Effect<
  <A, E1>(change: Effect.Effect<A, E1 | SqlError>) => Effect.Effect<A, E | E1 | SqlError>,
  never,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const arrived = yield* Effect.makeLatch()
    let waiting: Array<Waiting<E>> = []

    const commitNext = Effect.gen(function* () {
      yield* arrived.await
      yield* yieldToEventLoop
      const batch = waiting.filter(({ abandoned }) => !abandoned)
      waiting = []
      arrived.unsafeClose()
      if (batch.length === 0) return
      const exit = yield* Effect.exit(commit(Effect.forEach(batch, ({ run }) => run)))
      if (Exit.isSuccess(exit)) {
        for (const tell of exit.value) tell()
        return
      }

      const error = Cause.squash(exit.cause)
      const now = yield* Clock.currentTimeMillis
      const canWait = ({ since }: Waiting<E>) => isSqlError(error) && isBusy(error) && now - since < patience
      for (const { fail } of batch.filter((change) => !canWait(change))) fail(exit.cause)
      const patient = batch.filter(canWait)
      if (patient.length > 0) {
        yield* Effect.sleep(retryEvery)
        waiting = [...patient, ...waiting]
        arrived.unsafeOpen()
      }
    })
    yield* Effect.forkScoped(Effect.forever(commitNext))

    return <A, E1>(change: Effect.Effect<A, E1 | SqlError>) =>
      Effect.flatMap(Clock.currentTimeMillis, (since) =>
        Effect.async<A, E | E1 | SqlError>((resume) => {
          const entry: Waiting<E> = {
            since,
            abandoned: false,
            run: Effect.flatMap(Effect.exit(change), (exit) => {
              const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
              return isSqlError(error) ? Effect.fail(error) : Effect.succeed(() => resume(exit))
            }),
            fail: (cause) => resume(Effect.failCause(cause))
          }
          waiting.push(entry)
          arrived.unsafeOpen()
          return Effect.sync(() => {
            entry.abandoned = true
          })
        })
      )
  })
