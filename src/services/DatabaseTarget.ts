import * as Path from "node:path"
import * as Data from "effect/Data"
import * as Either from "effect/Either"
import { expandHome } from "../runtime/XdgDirs.js"
import { isPostgresUrl, type PostgresTarget, parsePostgresUrl } from "./postgres/PostgresUrl.js"

/** Where the records are kept: a SQLite file, or a PostgreSQL server. */
export type DatabaseTarget = Data.TaggedEnum<{
  File: { readonly path: string }
  Server: { readonly target: PostgresTarget }
}>
const { File, Server } = Data.taggedEnum<DatabaseTarget>()

/** Reads a path or a URL. What is wrong with a URL is said without showing it: a password may be in it. */
export const parseTarget = (text: string): Either.Either<DatabaseTarget, string> => {
  if (isPostgresUrl(text)) return Either.map(parsePostgresUrl(text), (target) => Server({ target }))
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text)
    ? Either.left("expected a path or a postgres:// URL, got a URL of another kind")
    : Either.right(File({ path: Path.resolve(expandHome(text)) }))
}

/** How it is named to people; without a password. */
export const formatTarget = (choice: DatabaseTarget): string =>
  choice._tag === "File" ? choice.path : choice.target.redactedUrl
