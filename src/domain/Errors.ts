import * as Data from "effect/Data"
import * as Schema from "effect/Schema"
import { preview } from "./Schemas.js"

/** An error's message, which is `error` in JSON. */
export const errorMessage = Schema.propertySignature(
  Schema.String.annotations({ description: "What went wrong, for people" })
).pipe(Schema.fromKey("error"))

/** No record has that name or id. */
export class NotFound extends Schema.TaggedError<NotFound>("nexus/NotFound")("NotFound", { message: errorMessage }) {
  static vm(nameOrId: string) {
    return new NotFound({ message: `VM '${nameOrId}' not found` })
  }
}

/** The records as they stand forbid the change. */
export class Conflict extends Schema.TaggedError<Conflict>("nexus/Conflict")("Conflict", { message: errorMessage }) {
  static nameTaken(name: string) {
    return new Conflict({ message: `VM name '${name}' already exists` })
  }
  static noFreeCid() {
    return new Conflict({ message: "no free CID" })
  }
  /** `action` is `delete` or `update`. */
  static running(action: "delete" | "update", name: string) {
    return new Conflict({ message: `cannot ${action} VM '${name}': VM is running, stop it first` })
  }
  static beingStarted(name: string) {
    return new Conflict({ message: `VM '${name}' is being started` })
  }
  static alreadyRunning(name: string) {
    return new Conflict({ message: `VM '${name}' is already running` })
  }
  static notRunning(name: string) {
    return new Conflict({ message: `VM '${name}' is not running` })
  }
  static cannotStart(name: string, reason: string) {
    return new Conflict({ message: `cannot start VM '${name}': ${reason}` })
  }
  /** The VM belongs to another host's daemon. */
  static onHost(name: string, host: string) {
    return new Conflict({ message: `VM '${name}' is on host '${host}': ask that host's nexusd` })
  }
}

/** The record is not the one that the request expects (RFC 9110, 13.1). Nothing was changed. */
export class PreconditionFailed extends Schema.TaggedError<PreconditionFailed>("nexus/PreconditionFailed")(
  "PreconditionFailed",
  { message: errorMessage }
) {
  static changed(name: string) {
    return new PreconditionFailed({
      message: `VM '${name}' is not as it was when it was read: read it again, then repeat the change`
    })
  }
  static missing(name: string) {
    return new PreconditionFailed({ message: `VM '${name}' does not exist: without If-Match it is created` })
  }
  static exists(name: string) {
    return new PreconditionFailed({ message: `VM '${name}' already exists: without If-None-Match it is updated` })
  }
  static unchanged(name: string) {
    return new PreconditionFailed({ message: `VM '${name}' is as If-None-Match says: read it again` })
  }
}

/** The VMM ended or refused before the guest ran; `message` has its own words. The VM's state is `failed`. */
export class StartFailed extends Schema.TaggedError<StartFailed>("nexus/StartFailed")("StartFailed", {
  message: errorMessage
}) {}

/** No VMM program, or no /dev/kvm that this user may use; `message` says what to install. The VM's state stays. */
export class VmmUnavailable extends Schema.TaggedError<VmmUnavailable>("nexus/VmmUnavailable")("VmmUnavailable", {
  message: errorMessage
}) {}

/** The VM reached none of the states in time. */
export class WaitTimeout extends Schema.TaggedError<WaitTimeout>("nexus/WaitTimeout")("WaitTimeout", {
  message: errorMessage
}) {}

/** The events after that id are not known here, or no longer. */
export class Gone extends Schema.TaggedError<Gone>("nexus/Gone")("Gone", { message: errorMessage }) {
  static events(since: string) {
    return new Gone({
      message: `the events after ${preview(since)} are not known here, or no longer: follow from now on, and list the VMs again`
    })
  }
}

/** The daemon sent no byte for `seconds`. */
export class DaemonTimeout extends Data.TaggedError("DaemonTimeout")<{ readonly seconds: number }> {}

/** The store does not answer: locked, full, gone or broken. Nothing was changed; the cause is in the log. */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("nexus/StoreUnavailable")(
  "StoreUnavailable",
  { message: errorMessage }
) {}
