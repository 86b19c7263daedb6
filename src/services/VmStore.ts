import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Conflict, NotFound, StoreUnavailable } from "../domain/Errors.js"
import type { CreateVm, Vm } from "../domain/Vm.js"
import type { VmPage, VmPageQuery, VmSelection } from "../domain/VmQuery.js"

/** The text of a JSON array of `Vm`, as UTF-8: whole when it is short, else in chunks of a bounded size. */
export type VmListJson = Uint8Array | Stream.Stream<Uint8Array, StoreUnavailable>

/**
 * The inventory of VM records.
 *
 * Every change is atomic and, once its effect has succeeded, durable as far as the layer keeps records at all. Any
 * call can fail with `StoreUnavailable`; nothing has changed then, unless the connection to a layer's server was lost
 * before it answered.
 */
export class VmStore extends Context.Tag("nexus/VmStore")<
  VmStore,
  {
    /**
     * Makes a record with a new UUID, state `created`, and a CID: one more than the highest in use (3 for the first), or
     * the lowest free one when the highest possible is in use.
     *
     * Fails with `Conflict` when the name is taken or no CID is free.
     */
    readonly create: (params: CreateVm) => Effect.Effect<Vm, Conflict | StoreUnavailable>

    /**
     * One page of the records that match, newest first: by `created_at`, then the later insert. Pages that follow `next`
     * hold each record once, whatever is created and deleted in between.
     */
    readonly list: (query: VmPageQuery) => Effect.Effect<VmPage, StoreUnavailable>

    /**
     * All records that match, in the order of `list`, as they were when reading began. This is the fast path of the HTTP
     * API's whole lists: JSON text comes straight from the database and rows are not decoded, which takes 10 ms instead
     * of 77 for 10,000 records and holds one chunk in memory.
     */
    readonly listJson: (selection: VmSelection) => Effect.Effect<VmListJson, StoreUnavailable>

    /** The record with that id, in upper or lower case, or, where no id matches, with that name. */
    readonly get: (nameOrId: string) => Effect.Effect<Vm, NotFound | StoreUnavailable>

    /** Removes the one record that `get` finds. Fails with `Conflict` when that VM is running. */
    readonly delete: (nameOrId: string) => Effect.Effect<void, NotFound | Conflict | StoreUnavailable>
  }
>() {}
