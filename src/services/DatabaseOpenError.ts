import * as Data from "effect/Data"

/** A database can't be used. `message` is one line: what was found and what to do. */
export class DatabaseOpenError extends Data.TaggedError("DatabaseOpenError")<{ readonly message: string }> {}
