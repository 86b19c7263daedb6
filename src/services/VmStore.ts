import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Conflict, NotFound, StoreUnavailable } from "../domain/Errors.js"
import type { CreateVm, Vm, VmCursor, VmQuery } from "../domain/Vm.js"

/** Records as they are sent. */
export interface VmList {
  /**
   * The text of a JSON array of `Vm`, as UTF-8: whole when it is short, else in pieces of a bounded size. All of it is as
   * it was at one moment, for a stream that of its start.
   */
  readonly json: Uint8Array | Stream.Stream<Uint8Array, StoreUnavailable>
  /** Where the next page begins, if a limit left records out. */
  readonly next: VmCursor | undefined
}

/**
 * The inventory of VM records. What is read goes from the database to the network as JSON text, and is never made
 * objects of on the way.
 *
 * Every change is atomic and, once its effect has succeeded, durable as far as the layer keeps records at all. Any
 * call can fail with `StoreUnavailable`; nothing has changed then, unless a layer's server was lost before it answered.
 */
export class VmStore extends Context.Tag("nexus/VmStore")<
  VmStore,
  {
    /**
     * Makes a record with a fresh UUID, state `created`, and a CID: one more than the highest in use (3 for the first),
     * or the lowest free one when the highest possible is taken.
     *
     * Fails with `Conflict` when the name is taken or no CID is free.
     */
    readonly create: (params: CreateVm) => Effect.Effect<Vm, Conflict | StoreUnavailable>

    /**
     * The records that match, newest first: by `created_at`, then the later insert. Pages that follow `next` hold each
     * record once, whatever comes and goes in between.
     */
    readonly list: (query: VmQuery) => Effect.Effect<VmList, StoreUnavailable>

    /**
     * The record with that id, in whatever case, or, where no id matches, that name: the JSON text of a `Vm`.
     */
    readonly get: (nameOrId: string) => Effect.Effect<string, NotFound | StoreUnavailable>

    /** Removes the one record that `get` finds. Fails with `Conflict` when that VM is running. */
    readonly delete: (nameOrId: string) => Effect.Effect<void, NotFound | Conflict | StoreUnavailable>
  }
>() {}
