import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { schemaVersion } from "../SchemaVersion.js"
import { columns as vmColumns } from "../VmRow.js"

export const nameConstraint = "vms_name_key"
export const cidConstraint = "vms_cid_key"

const now = "(extract(epoch FROM now())::bigint)"

/**
 * The same three tables as on SQLite, whose INTEGER is a bigint. Keys have collation "C": a C library with another sort
 * order corrupts an index under any other collation. `inserted` is the order of inserts, as SQLite's rowid is.
 */
const statements = [
  `CREATE TABLE schema_meta (
    key text COLLATE "C" CONSTRAINT schema_meta_pkey PRIMARY KEY,
    value text CONSTRAINT schema_meta_value_set NOT NULL
  )`,
  `CREATE TABLE settings (
    key text COLLATE "C" CONSTRAINT settings_pkey PRIMARY KEY,
    value text CONSTRAINT settings_value_set NOT NULL,
    type text CONSTRAINT settings_type_set NOT NULL
      CONSTRAINT settings_type_check CHECK (type IN ('string', 'int', 'bool', 'json'))
  )`,
  `CREATE TABLE vms (
    id text COLLATE "C" CONSTRAINT vms_pkey PRIMARY KEY,
    name text COLLATE "C" CONSTRAINT vms_name_set NOT NULL CONSTRAINT ${nameConstraint} UNIQUE,
    role text CONSTRAINT vms_role_set NOT NULL
      CONSTRAINT vms_role_check CHECK (role IN ('portal', 'work', 'service')),
    state text CONSTRAINT vms_state_set NOT NULL
      CONSTRAINT vms_state_check CHECK (state IN ('created', 'running', 'stopped', 'crashed', 'failed')),
    cid bigint CONSTRAINT vms_cid_set NOT NULL CONSTRAINT ${cidConstraint} UNIQUE,
    vcpu_count bigint CONSTRAINT vms_vcpu_count_set NOT NULL DEFAULT 1,
    mem_size_mib bigint CONSTRAINT vms_mem_size_mib_set NOT NULL DEFAULT 128,
    config_json text,
    pid bigint,
    socket_path text,
    uds_path text,
    console_log_path text,
    created_at bigint CONSTRAINT vms_created_at_set NOT NULL DEFAULT ${now},
    updated_at bigint CONSTRAINT vms_updated_at_set NOT NULL DEFAULT ${now},
    started_at bigint,
    stopped_at bigint,
    inserted bigint GENERATED ALWAYS AS IDENTITY,
    host text
  )`,
  "CREATE INDEX idx_vms_role ON vms (role)",
  "CREATE INDEX idx_vms_state ON vms (state)",
  // The order of lists: a page reads only its own records.
  "CREATE INDEX idx_vms_newest ON vms (created_at DESC, inserted DESC)",
  `INSERT INTO schema_meta (key, value) VALUES ('version', '${schemaVersion}')`
]

const columns: Readonly<Record<string, ReadonlyArray<string>>> = {
  schema_meta: ["key", "value"],
  settings: ["key", "value", "type"],
  vms: [...vmColumns, "inserted"]
}

/** What the current schema of a database holds. */
export type Contents = Data.TaggedEnum<{
  Empty: object
  /** `hasHost`: databases of earlier versions lack the column `host`. */
  Current: { readonly hasHost: boolean }
  Other: { readonly version: number }
  Foreign: { readonly found: string }
}>
const { Current, Empty, Foreign, Other } = Data.taggedEnum<Contents>()

/** Tables and views of the current schema, without those of extensions. */
const objectsIn = (sql: SqlClient) => sql<{ name: string }>`
  SELECT relname::text AS name FROM pg_class
  WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
    AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT EXISTS (
      SELECT 1 FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
    )
  ORDER BY relname
`

/** Classifies the current schema. Reads only. */
export const inspectSchema = (sql: SqlClient): Effect.Effect<Contents, SqlError> =>
  Effect.gen(function* () {
    const names = (yield* objectsIn(sql)).map(({ name }) => name)
    if (names.length === 0) return Empty()
    const some = `it holds ${names.slice(0, 5).join(", ")}${names.length > 5 ? ", …" : ""}`
    const present = yield* sql<{ table: string; column: string }>`
      SELECT table_name::text AS "table", column_name::text AS "column" FROM information_schema.columns
      WHERE table_schema = current_schema()
    `
    const missingColumns = (table: string) =>
      (columns[table] ?? []).filter((name) => !present.some((one) => one.table === table && one.column === name))
    if (missingColumns("schema_meta").length > 0) return Foreign({ found: some })
    const [row] = yield* sql<{ value: string }>`SELECT value::text FROM schema_meta WHERE key = 'version'`
    const version = /^-?\d+$/.test(row?.value ?? "") ? Number(row?.value) : undefined
    if (version === undefined) return Foreign({ found: "its schema_meta holds no version" })
    if (version !== schemaVersion) return Other({ version })
    const missing = Object.keys(columns).flatMap((table) => missingColumns(table).map((column) => `${table}.${column}`))
    return missing.length > 0
      ? Foreign({ found: `it lacks ${missing.join(", ")}` })
      : Current({ hasHost: present.some(({ column, table }) => table === "vms" && column === "host") })
  })

const createTables = (sql: SqlClient) =>
  Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })

const isToChange = (contents: Contents) =>
  contents._tag === "Empty" || (contents._tag === "Current" && !contents.hasHost)

/**
 * Creates the tables in an empty schema, adds the column `host` where it is missing, and leaves any other unchanged. Returns what the schema then holds. When several
 * daemons start at once, one creates the tables and the others wait for its lock.
 */
export const ensureSchema = (sql: SqlClient): Effect.Effect<Contents, SqlError> =>
  Effect.gen(function* () {
    // The tables are created in one transaction, so this sees all of them or none.
    const found = yield* inspectSchema(sql)
    if (!isToChange(found)) return found
    return yield* sql.withTransaction(
      Effect.gen(function* () {
        yield* sql`SELECT pg_advisory_xact_lock(hashtext('nexus.schema'), hashtext(current_schema()))`
        const contents = yield* inspectSchema(sql)
        if (!isToChange(contents)) return contents
        yield* contents._tag === "Empty" ? createTables(sql) : sql`ALTER TABLE vms ADD COLUMN IF NOT EXISTS host text`
        return Current({ hasHost: true })
      })
    )
  })

/** Why a schema can't be used and what to do; `undefined` if it can. `option` is the one that names the database. */
export const unusableMessage = (contents: Contents, option = "--db"): string | undefined => {
  const elsewhere = `give another database or schema with ${option}`
  switch (contents._tag) {
    case "Empty":
    case "Current":
      return undefined
    case "Other":
      return contents.version > schemaVersion
        ? `has schema version ${contents.version}, made by a newer nexusd (this one knows ${schemaVersion}): upgrade nexusd, or ${elsewhere}`
        : `has schema version ${contents.version}, and a shared database is never made anew (this nexusd knows ${schemaVersion}): ${elsewhere}`
    case "Foreign":
      return `is not a Nexus database (${contents.found}): ${elsewhere}`
  }
}
