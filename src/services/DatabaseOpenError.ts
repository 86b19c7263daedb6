import * as Data from "effect/Data"

/** A database can't be used; `message` says what was found and what to do. */
export class DatabaseOpenError extends Data.TaggedError("DatabaseRefused")<{ readonly message: string }> {}
