// Loads the better-sqlite3 that this Node.js can load.
//
// Version 13 brings its binaries and needs Node-API 10 (Node.js 22.14); an older Node.js ends the process when it loads
// one of them. Version 12 runs on Node.js 20. Compiled for Node.js 24.19 or later, it ends the process when a statement
// is garbage collected (nodejs/node#65446).
const isNodeApi10 = Number(process.versions.napi) >= 10

const loadSqlite = () => {
  try {
    return isNodeApi10 ? require("better-sqlite3") : require("better-sqlite3-node20")
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "MODULE_NOT_FOUND")) throw error
    const message = `this build of Nexus has no SQLite for Node.js ${process.versions.node}: use Node.js 22.14 or later, or build Nexus with this Node.js`
    throw new Error(message, { cause: error })
  }
}

module.exports = { isNodeApi10, loadSqlite }
