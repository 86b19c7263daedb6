import * as FileSystem from "@effect/platform/FileSystem"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Database from "../../src/services/sqlite/Database.js"
import * as StoreFiguresSqlite from "../../src/services/sqlite/StoreFiguresSqlite.js"
import * as VmStoreSqlite from "../../src/services/sqlite/VmStoreSqlite.js"
import { storeFiguresContract } from "./StoreFiguresContract.js"
import { vmReplaceContract } from "./VmReplaceContract.js"
import { vmRunContract } from "./VmRunContract.js"
import { type Setup, vmStoreContract } from "./VmStoreContract.js"

const seeded = ({ initial = [], settings = [] }: Setup) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(
        Effect.forEach(initial, (vm) => sql`INSERT INTO vms ${sql.insert({ ...vm })}`, { discard: true })
      )
      yield* Effect.forEach(settings, (row) => sql`INSERT INTO settings ${sql.insert({ ...row })}`)
    })
  )

const layer = (setup: Setup) =>
  Layer.unwrapScoped(
    Effect.gen(function* () {
      const folder = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped({ prefix: "nexus-store-" })
      return Layer.merge(VmStoreSqlite.layer(setup), StoreFiguresSqlite.layer).pipe(
        Layer.provideMerge(seeded(setup)),
        Layer.provide(Database.layer(`${folder}/nexus.db`))
      )
    })
  ).pipe(Layer.provide(NodeContext.layer), Layer.orDie)

vmStoreContract("SQLite", layer)
storeFiguresContract("SQLite", layer)
vmReplaceContract("SQLite", layer)
vmRunContract("SQLite", layer, { hasHost: false, hasSettings: true })
