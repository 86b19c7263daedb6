import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { PoolClient } from "pg"
import { decodeNotice, type Notice } from "./ChangeNotices.js"

/** What daemons on the same tables share: the channel of their notices, and the advisory locks that show who is there. */
export interface Channel {
  readonly name: string
  /** The first of the two keys of a presence lock. */
  readonly locks: number
}

/** Finds the channel. Tables in another schema of the same database have another one. */
export const selectChannel = {
  text: `
    SELECT 'nexus_' || tables AS name, hashtext('nexus.events ' || tables) AS locks
    FROM (SELECT 'vms'::regclass::oid::text AS tables) AS own
  `
}

/** A host that lost power never closes its connection: its lock must end all the same. */
const keepAlive = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"

/** Listens to a channel on a connection, holds the presence lock `key` on it, and runs `begin`. Ends when the connection does. */
export const listen = <E>(
  client: PoolClient,
  { locks, name }: Channel,
  key: number,
  {
    begin,
    isOwn,
    onNotice
  }: {
    readonly begin: Effect.Effect<void, E>
    /** Whether this daemon sent that payload, which needs no decoding then. */
    readonly isOwn: (payload: string) => boolean
    readonly onNotice: (notice: Notice) => void
  }
): Effect.Effect<void, E | SqlError, Scope.Scope> =>
  Effect.gen(function* () {
    const notify = ({ channel, payload = "" }: { readonly channel: string; readonly payload?: string | undefined }) => {
      if (channel === name && !isOwn(payload)) onNotice(decodeNotice(payload))
    }
    const lost = yield* Effect.makeLatch()
    const onEnd = () => lost.unsafeOpen()
    yield* Effect.acquireRelease(
      Effect.sync(() => client.on("notification", notify).on("end", onEnd)),
      () => Effect.sync(() => client.off("notification", notify).off("end", onEnd))
    )
    yield* Effect.tryPromise({
      try: () => client.query(`${keepAlive}; LISTEN ${name}; SELECT pg_advisory_lock_shared(${locks}, ${key})`),
      catch: (cause) => new SqlError({ cause })
    })
    yield* begin
    yield* lost.await
  })
