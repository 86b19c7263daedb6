import * as Effect from "effect/Effect"

/** Resumes after the event loop has processed pending I/O (`setImmediate`). */
export const yieldToEventLoop = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})
