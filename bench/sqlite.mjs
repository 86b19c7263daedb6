import { createRequire } from "node:module"

/**
 * The part of better-sqlite3 that is used here.
 *
 * @typedef {object} Statement
 * @property {(...values: ReadonlyArray<unknown>) => Record<string, unknown> | undefined} get
 * @property {(...values: ReadonlyArray<unknown>) => Array<Record<string, unknown>>} all
 * @property {(...values: ReadonlyArray<unknown>) => void} run
 *
 * @typedef {object} Sqlite
 * @property {(sql: string) => void} exec
 * @property {(sql: string) => void} pragma
 * @property {(sql: string) => Statement} prepare
 * @property {() => void} close
 */

const { isNodeApi10, loadSqlite } = createRequire(import.meta.url)("../src/services/sqlite/BetterSqlite3.cjs")

/** @type {new (path: string) => Sqlite} */
export const Sqlite = loadSqlite()

/** The package that it comes from. */
export const sqlitePackage = isNodeApi10 ? "better-sqlite3" : "better-sqlite3-node20"
