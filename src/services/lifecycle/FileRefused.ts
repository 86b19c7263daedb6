import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { systemErrorMessage } from "../../runtime/SystemError.js"

/** A file or folder can't be used. `message` begins with its path. */
export class FileRefused extends Data.TaggedError("FileRefused")<{ readonly message: string }> {}

export const refused = (path: string, reason: string) => new FileRefused({ message: `${path}: ${reason}` })

const words = (error: unknown): string => {
  const code = error instanceof Error && "code" in error ? error.code : undefined
  if (code === "ENOENT" || code === "ENOTDIR") return "no such file"
  return systemErrorMessage(error)
}

/** The `FileRefused` of what a file operation on `path` threw. */
export const toFileRefused = (path: string) => (error: unknown) =>
  error instanceof FileRefused ? error : refused(path, words(error))

/** Runs file operations on `path`. What they throw becomes a `FileRefused`. */
export const withFile = <A>(path: string, use: () => A): Effect.Effect<A, FileRefused> =>
  Effect.try({ try: use, catch: toFileRefused(path) })
