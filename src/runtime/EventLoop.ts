import * as Effect from "effect/Effect"

/** Lets everything that the event loop has at hand take its turn, and waits no longer than that. */
export const yieldToEventLoop = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})
