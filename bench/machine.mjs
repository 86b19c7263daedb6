import { readFileSync, statfsSync } from "node:fs"
import { availableParallelism, cpus, release, totalmem } from "node:os"
import { postgresVersion } from "./postgres.mjs"
import { folder } from "./processes.mjs"
import { Sqlite, sqlitePackage } from "./sqlite.mjs"

/** Names of the file system types of statfs(2). */
/** @type {Readonly<Record<number, string>>} */
const fileSystems = {
  61267: "ext4",
  1481003842: "XFS",
  2435016766: "Btrfs",
  2035054128: "overlayfs",
  16914836: "tmpfs"
}

/** @param {string} path */
const readJson = (path) => JSON.parse(readFileSync(new URL(`../${path}`, import.meta.url), "utf8"))

/** @returns {ReadonlyArray<readonly [what: string, value: string]>} */
export const machine = () => {
  const { dependencies, devDependencies, version } = readJson("package.json")
  // The programs are bundles, so most of what is in them are development dependencies.
  const packages = Object.keys({ ...dependencies, ...devDependencies })
    .filter((name) => /^(@effect\/(?!vitest)|effect$|pg$|yaml$)/.test(name))
    .concat(sqlitePackage)
    .sort()
    .map((name) => readJson(`node_modules/${name}/package.json`))
    .map(({ name, version }) => `${name} ${version}`)
  const database = new Sqlite(":memory:")
  const sqlite = database.prepare("SELECT sqlite_version() AS version").get()?.["version"]
  database.close()
  const fileSystem = Number(statfsSync(folder).type)
  return [
    ["processor", `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores`],
    ["memory", `${Math.round(totalmem() / 1024 ** 3)} GiB`],
    ["kernel", `Linux ${release()}`],
    ["file system", fileSystems[fileSystem] ?? `0x${fileSystem.toString(16)}`],
    ["Node.js", process.version],
    ["SQLite", String(sqlite)],
    ["PostgreSQL", postgresVersion() ?? "none"],
    ["Nexus", version],
    ["packages", packages.join(", ")]
  ]
}
