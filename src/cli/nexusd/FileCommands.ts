import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { printLines } from "../../runtime/StandardStreams.js"
import { DatabaseOpenError } from "../../services/DatabaseOpenError.js"
import { backup, restore } from "../../services/sqlite/Backup.js"
import { check } from "../../services/sqlite/DatabaseFiles.js"
import { config, runningVms } from "./RootCommand.js"

/** The SQLite file of the settings. Fails for PostgreSQL, and names its program for the same task. */
const databaseFile = (postgresProgram: string) =>
  Effect.flatMap(config, ({ database }) =>
    database._tag === "Sqlite"
      ? Effect.succeed(database.path)
      : new DatabaseOpenError({
          message: `${database.server.redactedUrl} is kept by PostgreSQL: use ${postgresProgram}`
        })
  )

const file = Args.text({ name: "FILE" })

/** `nexusd backup`. */
export const backupCommand = Command.make(
  "backup",
  { file: file.pipe(Args.withDescription("The copy, which must not exist yet")) },
  ({ file }) =>
    Effect.gen(function* () {
      const database = yield* databaseFile("pg_dump")
      const vms = yield* backup(database, file)
      yield* printLines([`Backed up ${database} to ${file} (${vms} VMs)`])
    })
).pipe(Command.withDescription("Write a verified copy of the database, also while nexusd runs"))

/** `nexusd restore`. */
export const restoreCommand = Command.make(
  "restore",
  { file: file.pipe(Args.withDescription("The backup to put in the database's place")) },
  ({ file }) =>
    Effect.gen(function* () {
      const database = yield* databaseFile("pg_restore")
      const kept = yield* restore(database, file, yield* runningVms)
      yield* printLines([
        `Restored ${database} from ${file}`,
        ...(kept === undefined ? [] : [`What was there is kept as ${kept}`])
      ])
    })
).pipe(Command.withDescription("Put a backup in the database's place, and keep what was there; nexusd must not run"))

/** `nexusd check`. */
export const checkCommand = Command.make("check", {}, () =>
  Effect.gen(function* () {
    const database = yield* databaseFile("pg_amcheck")
    const vms = yield* check(database)
    yield* printLines([`${database} is sound (${vms} VMs)`])
  })
).pipe(Command.withDescription("Check every page and index of the database, also while nexusd runs"))
