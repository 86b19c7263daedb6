import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { schemaVersion } from "../SchemaVersion.js"
import { columns as vmColumns } from "../VmRow.js"
import { codeOf } from "./SqliteErrors.js"

/** An index in the order of lists; every index ends with the rowid. The schema of the step 4 plan has none. */
const listOrderIndex = "CREATE INDEX IF NOT EXISTS idx_vms_created_at ON vms(created_at)"

const statements = [
  `CREATE TABLE schema_meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
  )`,
  `CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    type TEXT NOT NULL CHECK(type IN ('string', 'int', 'bool', 'json'))
  )`,
  `CREATE TABLE vms (
    id TEXT PRIMARY KEY,
    name TEXT UNIQUE NOT NULL,
    role TEXT NOT NULL CHECK(role IN ('portal', 'work', 'service')),
    state TEXT NOT NULL CHECK(state IN ('created', 'running', 'stopped', 'crashed', 'failed')),
    cid INTEGER NOT NULL UNIQUE,
    vcpu_count INTEGER NOT NULL DEFAULT 1,
    mem_size_mib INTEGER NOT NULL DEFAULT 128,
    config_json TEXT,
    pid INTEGER,
    socket_path TEXT,
    uds_path TEXT,
    console_log_path TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now')),
    started_at INTEGER,
    stopped_at INTEGER
  )`,
  "CREATE INDEX idx_vms_role ON vms(role)",
  "CREATE INDEX idx_vms_state ON vms(state)",
  listOrderIndex,
  `INSERT INTO schema_meta (key, value) VALUES ('version', '${schemaVersion}')`
]

const columns: Readonly<Record<string, ReadonlyArray<string>>> = {
  schema_meta: ["key", "value"],
  settings: ["key", "value", "type"],
  vms: vmColumns
}

/** What a SQLite file holds. */
export type Contents = Data.TaggedEnum<{
  Empty: object
  Current: object
  Older: { readonly version: number }
  Newer: { readonly version: number }
  Foreign: { readonly found: string }
  Damaged: { readonly found: string }
}>
const contents = Data.taggedEnum<Contents>()
const { Newer, Older } = contents
export const { Current, Damaged, Empty, Foreign } = contents

/** Contents that nexusd does not open. */
export type Unusable = Extract<Contents, { _tag: "Newer" | "Foreign" | "Damaged" }>
export const isUnusable = (contents: Contents): contents is Unusable =>
  contents._tag === "Newer" || contents._tag === "Foreign" || contents._tag === "Damaged"

/**
 * Up to this size every open runs the full check, which takes some 50 ms. For larger databases only `nexusd check` compares
 * indexes with tables.
 */
const fullCheckBytes = 8 * 1024 * 1024

const firstProblem = (rows: ReadonlyArray<object>): string | undefined => {
  const [said] = Object.values(rows[0] ?? {})
  return said === "ok" ? undefined : `SQLite's check says: ${said}`
}

/** Checks every page, constraint and index. Returns the first problem. */
export const findDamage = (sql: SqlClient) => Effect.map(sql<object>`PRAGMA integrity_check`, firstProblem)
const findDamageQuickly = (sql: SqlClient) => Effect.map(sql<object>`PRAGMA quick_check`, firstProblem)

/** Classifies a database by its schema and checks it. Reads only. */
export const inspectSchema = (sql: SqlClient): Effect.Effect<Contents, SqlError> =>
  Effect.gen(function* () {
    const objects = yield* sql<{ type: string; name: string }>`
      SELECT type, name FROM sqlite_master WHERE name NOT GLOB 'sqlite_*'
    `
    const tables = objects.filter(({ type }) => type === "table").map(({ name }) => name)
    if (objects.length === 0) return Empty()
    if (!tables.includes("schema_meta")) {
      return Foreign({
        found: `it holds ${objects
          .slice(0, 5)
          .map(({ name }) => name)
          .join(", ")}`
      })
    }
    const [row] = yield* sql<{ value: unknown }>`SELECT * FROM schema_meta WHERE key = 'version'`
    const version = /^-?\d+$/.test(String(row?.value)) ? Number(row?.value) : undefined
    if (version === undefined) return Foreign({ found: "its schema_meta holds no version" })
    if (version > schemaVersion) return Newer({ version })
    const [size] = yield* sql<{ bytes: number }>`
      SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size
    `
    const problem = yield* (size?.bytes ?? 0) <= fullCheckBytes ? findDamage(sql) : findDamageQuickly(sql)
    if (problem !== undefined) return Damaged({ found: problem })
    if (version < schemaVersion) return Older({ version })
    for (const [table, wanted] of Object.entries(columns)) {
      const present = yield* sql<{ name: string }>`SELECT name FROM pragma_table_info(${table})`
      const missing = wanted.filter((column) => !present.some(({ name }) => name === column))
      if (missing.length > 0) {
        return Damaged({ found: `table ${table} lacks ${missing.join(", ")}` })
      }
    }
    return Current()
  }).pipe(
    Effect.catchIf(
      (error) => /^SQLITE_(NOTADB|CORRUPT|ERROR)/.test(codeOf(error.cause)),
      ({ cause }) =>
        Effect.succeed<Contents>(
          codeOf(cause).startsWith("SQLITE_CORRUPT")
            ? Damaged({ found: String(cause) })
            : Foreign({ found: String(cause) })
        )
    )
  )

/** Creates the tables and indexes in an empty database. Run it in a transaction. */
export const createTables = (sql: SqlClient) =>
  Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })

/** Creates the index of lists in a database of the current version that lacks it. Run it in a transaction. */
export const ensureListOrderIndex = (sql: SqlClient) => sql.unsafe(listOrderIndex)

/** Drops every table and view. Run it in a transaction, after a backup. */
export const dropTables = (sql: SqlClient) =>
  Effect.gen(function* () {
    const objects = yield* sql<{ type: string; name: string }>`
      SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*'
    `
    for (const { name, type } of objects) {
      yield* sql.unsafe(`DROP ${type} "${name.replaceAll('"', '""')}"`)
    }
  })
