import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Conflict, NotFound, StoreUnavailable } from "../domain/Errors.js"
import type { CreateVm, Vm, VmFilter } from "../domain/Vm.js"

/**
 * The inventory of VM records.
 *
 * Every change is atomic and, once its effect has succeeded, durable as far as the layer keeps records at all. Any
 * call can fail with `StoreUnavailable`; nothing has changed then.
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

    /** The records that match, newest first: by `created_at`, then the later insert. */
    readonly list: (filter: VmFilter) => Effect.Effect<ReadonlyArray<Vm>, StoreUnavailable>

    /** The record with that id or, where no id matches, that name. */
    readonly get: (nameOrId: string) => Effect.Effect<Vm, NotFound | StoreUnavailable>

    /** Removes the one record that `get` finds. Fails with `Conflict` when that VM is running. */
    readonly delete: (nameOrId: string) => Effect.Effect<void, NotFound | Conflict | StoreUnavailable>
  }
>() {}
