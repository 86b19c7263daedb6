import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"

/** Runs an effect in a span where the current fiber has one, as in a traced request. Elsewhere it costs nothing. */
export const withChildSpan = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  name: string,
  options?: () => Pick<Tracer.SpanOptions, "attributes" | "kind">
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) =>
    fiber.currentSpan === undefined
      ? effect
      : Effect.withSpan(effect, name, { ...options?.(), captureStackTrace: false })
  )

/** Runs a SQL statement in a span with OpenTelemetry's attributes for database clients. */
export const withSqlSpan = <A, E, R>(effect: Effect.Effect<A, E, R>, system: "postgresql" | "sqlite", text: string) =>
  withChildSpan(effect, "sql.execute", () => ({
    kind: "client",
    attributes: { "db.system.name": system, "db.query.text": text }
  }))
