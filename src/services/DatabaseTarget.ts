import * as Path from "node:path"
import * as Data from "effect/Data"
import * as Either from "effect/Either"
import { expandHome } from "../runtime/XdgDirs.js"
import { isPostgresUrl, type PostgresTarget, parsePostgresUrl } from "./PostgresUrl.js"

/** Where VM records are stored: a SQLite file (absolute path) or a PostgreSQL database. */
export type DatabaseTarget = Data.TaggedEnum<{
  Sqlite: { readonly path: string }
  Postgres: { readonly server: PostgresTarget }
}>
const { Sqlite, Postgres } = Data.taggedEnum<DatabaseTarget>()

/** Parses a path or a `postgres://` URL. The error message does not show the text, which may contain a password. */
export const parseTarget = (text: string): Either.Either<DatabaseTarget, string> => {
  if (isPostgresUrl(text)) return Either.map(parsePostgresUrl(text), (server) => Postgres({ server }))
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text)
    ? Either.left("expected a path or a postgres:// URL, got a URL of another kind")
    : Either.right(Sqlite({ path: Path.resolve(expandHome(text)) }))
}

/** The path, or the URL without its password. */
export const formatTarget = (target: DatabaseTarget): string =>
  target._tag === "Sqlite" ? target.path : target.server.redactedUrl
