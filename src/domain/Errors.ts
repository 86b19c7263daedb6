import * as Schema from "effect/Schema"

/** Every expected failure says in `error`, for people, what was wrong. */
const forPeople = { error: Schema.String.annotations({ description: "What went wrong, for people" }) }

/** No record has that name or id. */
export class NotFound extends Schema.TaggedError<NotFound>("nexus/NotFound")("NotFound", forPeople) {
  static vm(nameOrId: string) {
    return new NotFound({ error: `VM '${nameOrId}' not found` })
  }
  override get message() {
    return this.error
  }
}

/** The records as they stand forbid the change. */
export class Conflict extends Schema.TaggedError<Conflict>("nexus/Conflict")("Conflict", forPeople) {
  static nameTaken(name: string) {
    return new Conflict({ error: `VM name '${name}' already exists` })
  }
  static noFreeCid() {
    return new Conflict({ error: "no free CID" })
  }
  static running(name: string) {
    return new Conflict({ error: `cannot delete VM '${name}': VM is running, stop it first` })
  }
  override get message() {
    return this.error
  }
}

/** The store does not answer: locked, full, gone or broken. Nothing was changed; the cause is in the log. */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("nexus/StoreUnavailable")(
  "StoreUnavailable",
  forPeople
) {
  override get message() {
    return this.error
  }
}
