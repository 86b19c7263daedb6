import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { FoundProcess, Vmm } from "../vmm/Vmm.js"

/** The VMMs that run, by the id of their VM. */
export type ProcessesById = ReadonlyMap<string, FoundProcess>

/** Looks for VMMs in /proc. */
export interface ProcessScan {
  readonly all: Effect.Effect<ProcessesById>
  readonly findNow: (id: string) => Effect.Effect<FoundProcess | undefined>
  /**
   * The process of a VM that has no run. An earlier look that did not find it serves for up to 30 s: who starts a VMM stores
   * its run first, and keeps that until the VMM has ended.
   */
  readonly find: (id: string) => Effect.Effect<FoundProcess | undefined>
}

/** A look at a thousand VMMs takes 20 ms, more than a start does. */
const maxAgeMillis = 30_000

export const makeProcessScan = ({ processes }: Vmm["Type"]): ProcessScan => {
  let last: ProcessesById = new Map()
  let lastAt = Number.NEGATIVE_INFINITY
  const all = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    last = new Map((yield* processes).map((found) => [found.id, found]))
    lastAt = now
    return last
  })
  const findNow = (id: string) => Effect.map(all, (processes) => processes.get(id))
  return {
    all,
    findNow,
    find: (id) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        now - lastAt < maxAgeMillis && !last.has(id) ? Effect.succeed(undefined) : findNow(id)
      )
  }
}
