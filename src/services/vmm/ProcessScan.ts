import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { yieldToEventLoop } from "../../runtime/EventLoop.js"
import type { FoundProcess, Vmm } from "./Vmm.js"

/** The VMMs that run, by the id of their VM. */
export type ProcessesById = ReadonlyMap<string, FoundProcess>

/** Looks through /proc once for all who ask in one turn of the event loop, and never before they ask. */
export const makeProcessScan = ({ processes }: Vmm["Type"]): Effect.Effect<ProcessesById> => {
  let next: Deferred.Deferred<ProcessesById> | undefined
  const scan = (result: Deferred.Deferred<ProcessesById>) =>
    yieldToEventLoop.pipe(
      Effect.zipRight(
        Effect.suspend(() => {
          next = undefined
          return processes
        })
      ),
      Effect.map((found): ProcessesById => new Map(found.map((process) => [process.id, process]))),
      Effect.intoDeferred(result),
      Effect.interruptible,
      Effect.forkDaemon
    )
  return Effect.suspend(() => {
    if (next !== undefined) return Deferred.await(next)
    return Effect.flatMap(Deferred.make<ProcessesById>(), (result) => {
      next = result
      return Effect.zipRight(scan(result), Deferred.await(result))
    })
  })
}
