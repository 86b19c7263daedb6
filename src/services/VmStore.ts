import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import type * as Stream from "effect/Stream"
import type { Conflict, NotFound, PreconditionFailed, StoreUnavailable } from "../domain/Errors.js"
import type { CreateVm, UpdateVm, Vm } from "../domain/Vm.js"
import type { VmPage, VmPageQuery, VmSelection } from "../domain/VmQuery.js"
import type { DriveIdentity, RunSupervisor, VmChange, VmWithRun } from "../domain/VmRun.js"
import type { Precondition } from "../domain/VmTransition.js"

/** A JSON array of `Vm` in UTF-8: one buffer for up to 1,000 records, else a stream of chunks of 1,000 records each. */
export type VmListJson = Uint8Array | Stream.Stream<Uint8Array, StoreUnavailable>

/** A record and its run before and after a transition; the same object twice if nothing changed. */
export interface VmTransition {
  readonly before: VmWithRun
  readonly after: VmWithRun
}

/** A record before and after a replacement; `before` is `undefined` if it was created. */
export interface VmReplacement {
  readonly before: Vm | undefined
  readonly after: Vm
}

/**
 * The inventory of VM records.
 *
 * A change is atomic, and durable once its effect succeeds. Any call can fail with `StoreUnavailable`; nothing has changed
 * then, except that a change may have been made when the connection to PostgreSQL was lost before the answer.
 *
 * A precondition is checked in the transaction of the change, before anything else about the record. It may be called
 * several times.
 */
export class VmStore extends Context.Tag("nexus/VmStore")<
  VmStore,
  {
    /**
     * Creates a record with a new UUID, state `created`, and a CID: one more than the highest in use (3 for the first), or
     * the lowest free one once 4294967294 is in use.
     *
     * Fails with `Conflict` when the name is taken or no CID is free.
     */
    readonly create: (params: CreateVm) => Effect.Effect<Vm, Conflict | StoreUnavailable>

    /**
     * One page of at most `limit` matching records, newest first: by `created_at`, then by later insert. `next` is the cursor
     * of the following page. Across pages each record occurs once, even if others are created or deleted meanwhile.
     */
    readonly list: (query: VmPageQuery) => Effect.Effect<VmPage, StoreUnavailable>

    /**
     * All matching records in the order of `list`, from one snapshot, as JSON text straight from the database. This is the
     * fast path for unlimited lists of the HTTP API: rows are not decoded. 10,000 records take 10 ms instead of 77, and one
     * chunk is in memory at a time.
     */
    readonly listJson: (selection: VmSelection) => Effect.Effect<VmListJson, StoreUnavailable>

    /** Returns the record with that id, in any case, or else with that name. Fails with `NotFound`. */
    readonly get: (nameOrId: string) => Effect.Effect<Vm, NotFound | StoreUnavailable>

    /**
     * Changes the fields of the record that `get` returns. What changes nothing succeeds, and leaves `updated_at`.
     *
     * Fails with `Conflict` when the new name is taken, while the VM is being started, and for any field but `role` while it
     * runs.
     */
    readonly update: (
      nameOrId: string,
      update: UpdateVm,
      precondition?: Precondition
    ) => Effect.Effect<Vm, NotFound | Conflict | PreconditionFailed | StoreUnavailable>

    /**
     * Makes the record of that name, which is no id here, have these fields: updates it, or creates it if there is none.
     * What changes nothing succeeds, and leaves `updated_at`.
     *
     * Fails with `Conflict` as `update` and `create` do.
     */
    readonly replace: (
      params: CreateVm,
      precondition?: Precondition
    ) => Effect.Effect<VmReplacement, Conflict | PreconditionFailed | StoreUnavailable>

    /** Deletes the record that `get` returns. Fails with `Conflict` while the VM runs or is being started. */
    readonly delete: (
      nameOrId: string,
      precondition?: Precondition
    ) => Effect.Effect<Vm, NotFound | Conflict | PreconditionFailed | StoreUnavailable>

    /**
     * Reads the record that `get` returns with its run, and writes what `decide` makes of both, in one transaction. `decide`
     * is one of `VmTransition`'s; it may be called several times. `others` are the other VMs whose runs have one of
     * `drives`; transitions with drives run one after the other.
     *
     * Fails with what `decide` fails with, and with `Conflict` when a new name is taken. After `StoreUnavailable` the change
     * may have been made.
     */
    readonly transition: <E>(
      nameOrId: string,
      decide: (current: VmWithRun, others: ReadonlyArray<VmWithRun>) => Either.Either<VmChange | undefined, E>,
      options?: { readonly drives: ReadonlyArray<DriveIdentity> }
    ) => Effect.Effect<VmTransition, E | NotFound | Conflict | StoreUnavailable>

    /** The record that `get` returns, with its run. */
    readonly getWithRun: (nameOrId: string) => Effect.Effect<VmWithRun, NotFound | StoreUnavailable>

    /** Every record that has a run, or whose state is `running`. */
    readonly running: Effect.Effect<ReadonlyArray<VmWithRun>, StoreUnavailable>

    /** The records of `running` whose run that daemon does not supervise. A daemon's own are not decoded for it. */
    readonly runningExcept: (supervisor: RunSupervisor) => Effect.Effect<ReadonlyArray<VmWithRun>, StoreUnavailable>

    /** A UUID that names this database, made when first asked for. Stands in `settings` as `database.id`. */
    readonly databaseId: Effect.Effect<string, StoreUnavailable>
  }
>() {}
