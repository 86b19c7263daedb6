import * as Schema from "effect/Schema"

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
  static running(name: string) {
    return new Conflict({ message: `cannot delete VM '${name}': VM is running, stop it first` })
  }
}

/** The store does not answer: locked, full, gone or broken. Nothing was changed; the cause is in the log. */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("nexus/StoreUnavailable")(
  "StoreUnavailable",
  { message: errorMessage }
) {}
