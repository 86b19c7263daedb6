import * as Effect from "effect/Effect"

/** Fibers that wait until something has happened. */
export interface PacedWakeUps {
  /** Waits for the next wake-up, unless `isDue` returns true. */
  readonly wait: (isDue: () => boolean) => Effect.Effect<void>
  /** Resumes the waiting fibers soon. Takes constant time. */
  readonly wake: () => void
}

/** Fibers resumed in one turn of the event loop; other I/O is served in between. */
const groupSize = 50

/** Wake-ups that are at least `pauseMillis()` apart: what happens in between is one wake-up. */
export const make = (pauseMillis: () => number): PacedWakeUps => {
  let waiting = new Set<() => void>()
  let due = new Set<() => void>()
  let isUnderWay = false
  let isAskedAgain = false
  let begunAt = Number.NEGATIVE_INFINITY

  const resumeGroup = () => {
    let count = 0
    for (const resume of due) {
      due.delete(resume)
      resume()
      count++
      if (count === groupSize) break
    }
    if (due.size > 0) return void setImmediate(resumeGroup)
    isUnderWay = false
    if (isAskedAgain) wake()
  }

  const begin = () => {
    isAskedAgain = false
    begunAt = performance.now()
    const none = due
    due = waiting
    waiting = none
    resumeGroup()
  }

  const wake = () => {
    if (isUnderWay) isAskedAgain = true
    if (isUnderWay || waiting.size === 0) return
    isUnderWay = true
    const pause = begunAt + pauseMillis() - performance.now()
    if (pause < 1) setImmediate(begin)
    else setTimeout(begin, pause)
  }

  return {
    wake,
    wait: (isDue) =>
      Effect.async<void>((resume) => {
        const resumed = () => resume(Effect.void)
        if (isDue()) return resumed()
        waiting.add(resumed)
        return Effect.sync(() => {
          waiting.delete(resumed)
          due.delete(resumed)
        })
      })
  }
}
