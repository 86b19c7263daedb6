const { loadSqlite } = require("./BetterSqlite3.cjs")

// What @effect/sql-sqlite-node imports as better-sqlite3 (scripts/build.mjs, vitest.config.ts). Loads it when a database is
// opened, and fails where the file is missing; the library alone would create it.
/**
 * @param {string} filename
 * @param {import("better-sqlite3").Options} options
 */
function Database(filename, options) {
  const BetterSqlite3 = loadSqlite()
  return new BetterSqlite3(filename, { ...options, fileMustExist: true })
}

module.exports = Database
