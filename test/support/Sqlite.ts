import { mkdirSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname } from "node:path"

type Row = Readonly<Record<string, unknown>>

/** The part of better-sqlite3 that tests use. */
export interface Sqlite {
  readonly exec: (sql: string) => void
  readonly prepare: (sql: string) => {
    readonly all: (...values: ReadonlyArray<unknown>) => ReadonlyArray<Row>
    readonly run: (...values: ReadonlyArray<unknown>) => void
  }
  readonly close: () => void
}

const SqliteDatabase: new (path: string) => Sqlite = createRequire(import.meta.url)(
  "../../src/services/sqlite/BetterSqlite3.cjs"
).loadSqlite()

/** Opens a SQLite file without nexusd, for as long as `use` takes. */
export const withDatabase = <A>(path: string, use: (database: Sqlite) => A): A => {
  mkdirSync(dirname(path), { recursive: true })
  const database = new SqliteDatabase(path)
  try {
    return use(database)
  } finally {
    database.close()
  }
}
