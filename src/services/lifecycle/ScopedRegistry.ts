import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Values by key, each registered until a scope closes. */
export interface ScopedRegistry<A> {
  readonly add: (key: string, value: A) => Effect.Effect<void, never, Scope.Scope>
  readonly of: (key: string) => ReadonlyArray<A>
}

export const makeRegistry = <A>(): ScopedRegistry<A> => {
  const values = new Map<string, Set<A>>()
  return {
    of: (key) => Array.from(values.get(key) ?? []),
    add: (key, value) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const set = values.get(key) ?? new Set()
          values.set(key, set.add(value))
        }),
        () =>
          Effect.sync(() => {
            const set = values.get(key)
            set?.delete(value)
            if (set?.size === 0) values.delete(key)
          })
      )
  }
}
