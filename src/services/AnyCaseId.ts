import * as Effect from "effect/Effect"
import { NotFound } from "../domain/Errors.js"

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/**
 * Makes a call on "name or id" compare ids without regard to case (RFC 9562 §4). A UUID that is not found as given is tried
 * in lower case, as Nexus writes ids, then in upper case. Each attempt is an index look-up; a query that folds case would
 * scan the table.
 */
export const withAnyCaseId =
  <A, E>(call: (nameOrId: string) => Effect.Effect<A, E>) =>
  (nameOrId: string): Effect.Effect<A, E | NotFound> => {
    if (!uuid.test(nameOrId)) return call(nameOrId)
    const spellings = new Set([nameOrId, nameOrId.toLowerCase(), nameOrId.toUpperCase()])
    return Array.from(spellings, call)
      .reduce((found, next) =>
        Effect.catchAll(found, (error) => (error instanceof NotFound ? next : Effect.fail(error)))
      )
      .pipe(Effect.mapError((error) => (error instanceof NotFound ? NotFound.vm(nameOrId) : error)))
  }
