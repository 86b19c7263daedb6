import type { Health } from "../domain/Health.js"
import type { CreateVm, ReplaceVm, UpdateVm, Vm, VmState } from "../domain/Vm.js"
import type { VmEvent } from "../domain/VmEvent.js"
import type { VmFilter } from "../domain/VmQuery.js"
import type { StopVm } from "../domain/VmRequests.js"
import type { VmChange } from "../http/VmWatch.js"
import type { NexusError } from "./NexusError.js"

/** How to connect. */
export interface ConnectOptions {
  /** The token that the daemon asks for, if it asks for one. */
  readonly token?: string | undefined
}

/** Options of every call. */
export interface CallOptions {
  /** Gives the call up when it aborts. The promise is then rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Options of calls that change a record. */
export interface ChangeOptions extends CallOptions {
  /** The entity tag of the record to change. Any other is a `PreconditionFailed`. */
  readonly ifMatch?: string | undefined
}

/** Options of streams that connect again when their connection is lost. */
export interface StreamOptions extends CallOptions {
  /** Called once a connection is lost, before the first attempt to connect again. */
  readonly onDisconnect?: ((error: NexusError) => void) | undefined
  /** Called once there is a connection again. */
  readonly onReconnect?: (() => void) | undefined
}

/** Calls that concern VMs. Each of them fails with a `NexusError`. */
export interface Vms {
  /** Creates a record. `name` alone is needed. */
  readonly create: (vm: typeof CreateVm.Encoded, options?: CallOptions) => Promise<Vm>
  /** All records that match, newest first, in one answer. */
  readonly list: (filter?: VmFilter, options?: CallOptions) => Promise<ReadonlyArray<Vm>>
  /** The same records, requested in pages of up to `pageSize` (1 to 1000, default 1000) while they are read. */
  readonly iterate: (
    filter?: VmFilter,
    options?: CallOptions & { readonly pageSize?: number | undefined }
  ) => AsyncIterable<Vm>
  /** The record with that name or id. */
  readonly get: (nameOrId: string, options?: CallOptions) => Promise<Vm>
  /** The record and its entity tag, for `ifMatch`. Daemons of the step 4 plan send no tag. */
  readonly getTagged: (
    nameOrId: string,
    options?: CallOptions
  ) => Promise<{ readonly vm: Vm; readonly etag: string | undefined }>
  /** Changes fields of a record. What is left out stays; `config_json: null` removes the configuration. */
  readonly update: (nameOrId: string, changes: typeof UpdateVm.Encoded, options?: ChangeOptions) => Promise<Vm>
  /** Creates the VM of that name or replaces it. What is left out takes its default. `ifNoneMatch: "*"` only creates. */
  readonly replace: (
    name: string,
    vm: typeof ReplaceVm.Encoded,
    options?: ChangeOptions & { readonly ifNoneMatch?: "*" | undefined }
  ) => Promise<Vm>
  /** Deletes the record of a VM that does not run, with its log. */
  readonly delete: (nameOrId: string, options?: ChangeOptions) => Promise<void>
  /** Starts a VM. Resolves once the guest runs. A start that has begun goes on after `signal` aborts. */
  readonly start: (nameOrId: string, options?: ChangeOptions) => Promise<Vm>
  /** Stops a VM: asks the guest, and kills its process after `timeout_s`, or at once with `force`. */
  readonly stop: (nameOrId: string, how?: StopVm, options?: ChangeOptions) => Promise<Vm>
  /** Resolves when the VM is in one of the states. After `timeout_s` (1 to 600, default 60) it is a `WaitTimeout`. */
  readonly wait: (
    nameOrId: string,
    until: { readonly state: VmState | ReadonlyArray<VmState>; readonly timeout_s?: number | undefined },
    options?: CallOptions
  ) => Promise<Vm>
  /**
   * The records that match, as `listed`, and then each change of them, exactly once. A connection that is lost is made
   * again, and changes that were missed follow then.
   */
  readonly watch: (filter?: VmFilter, options?: StreamOptions) => AsyncIterable<VmChange>
  /** The last `tail` lines (0 to 10000, default 100) of the console log; with `follow`, all until the VM stops. */
  readonly logs: (
    nameOrId: string,
    part?: { readonly tail?: number | undefined; readonly follow?: boolean | undefined },
    options?: CallOptions
  ) => AsyncIterable<Uint8Array>
}

/** A client of one daemon. */
export interface Nexus {
  readonly vms: Vms
  /** The daemon's health. One that is not well is a `Degraded`, of status 503. */
  readonly health: (options?: CallOptions) => Promise<Health>
  /**
   * Changes as they happen: `ready` first, then `created`, `updated` and `deleted`; with `since`, those after the event of
   * that id. A connection that is lost is made again. Where changes were missed then, `reset` says to list the VMs again.
   */
  readonly events: (options?: StreamOptions & { readonly since?: string | undefined }) => AsyncIterable<VmEvent>
  /** Closes all connections. Calls in progress and later ones fail with `Closed`. */
  readonly close: () => Promise<void>
}
