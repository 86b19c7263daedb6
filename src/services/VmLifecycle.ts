import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type {
  Conflict,
  NotFound,
  PreconditionFailed,
  StartFailed,
  StoreUnavailable,
  VmmUnavailable,
  WaitTimeout
} from "../domain/Errors.js"
import type { Vm } from "../domain/Vm.js"
import type { Precondition } from "../domain/VmTransition.js"

/** How to stop a VM. */
export interface StopOptions {
  /** Kills the VMM at once. */
  readonly force: boolean
  /** How long the guest has; the setting `vm.stop_timeout` if undefined. */
  readonly timeout: Duration.Duration | undefined
}

/**
 * VMs as processes: every change of a VM's state goes through here. Docs/lifecycle.md has the states.
 *
 * `start` and `stop` run to their end once the VM is claimed: interrupting the caller does not stop them.
 *
 * A precondition is checked in the transaction that claims the VM, begins its stop, or deletes it.
 */
export class VmLifecycle extends Context.Tag("nexus/VmLifecycle")<
  VmLifecycle,
  {
    /**
     * Starts a VM and returns its record once the guest runs.
     *
     * Fails with `Conflict` if it runs or is being started, has no kernel, or a file can't be used; with `StartFailed` if the
     * VMM ends or refuses (the state is `failed` then), and with `VmmUnavailable` if there is none.
     */
    readonly start: (
      nameOrId: string,
      precondition?: Precondition
    ) => Effect.Effect<Vm, NotFound | Conflict | PreconditionFailed | StartFailed | VmmUnavailable | StoreUnavailable>

    /** Asks the guest to stop, kills the VMM after the timeout, and returns the record once it is `stopped`. */
    readonly stop: (
      nameOrId: string,
      options: StopOptions,
      precondition?: Precondition
    ) => Effect.Effect<Vm, NotFound | Conflict | PreconditionFailed | StoreUnavailable>

    /** Makes a VM `crashed` that ran on another host, which will not come back. */
    readonly loseHost: (
      nameOrId: string,
      precondition?: Precondition
    ) => Effect.Effect<Vm, NotFound | Conflict | PreconditionFailed | StoreUnavailable>

    /** Deletes a record that does not run, and its folder with the log. */
    readonly delete: (
      nameOrId: string,
      precondition?: Precondition
    ) => Effect.Effect<void, NotFound | Conflict | PreconditionFailed | StoreUnavailable>

    /**
     * The console log of a VM, byte for byte: the last `tail` lines, empty if it never ran. With `follow` the stream goes on
     * until the VM stops. Fails with `Conflict` if the VM ran on another host.
     */
    readonly logs: (
      nameOrId: string,
      options: { readonly tail: number; readonly follow: boolean }
    ) => Effect.Effect<Stream.Stream<Uint8Array, StoreUnavailable>, NotFound | Conflict | StoreUnavailable>

    /** Returns the record as soon as the VM is in one of `states`. */
    readonly wait: (
      nameOrId: string,
      options: { readonly states: ReadonlyArray<string>; readonly timeout: Duration.Duration }
    ) => Effect.Effect<Vm, NotFound | WaitTimeout | StoreUnavailable>
  }
>() {}
