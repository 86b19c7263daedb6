import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { beforeAll, describe } from "vitest"
import { parsePostgresUrl } from "../../src/services/PostgresUrl.js"
import * as PostgresDatabase from "../../src/services/postgres/PostgresDatabase.js"
import * as StoreFiguresPostgres from "../../src/services/postgres/StoreFiguresPostgres.js"
import * as VmStorePostgres from "../../src/services/postgres/VmStorePostgres.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { storeFiguresContract } from "./StoreFiguresContract.js"
import { vmReplaceContract } from "./VmReplaceContract.js"
import { vmRunContract } from "./VmRunContract.js"
import { type Setup, vmStoreContract } from "./VmStoreContract.js"

describe.skipIf(!hasPostgres)(`PostgreSQL${needsPostgres}`, () => {
  let server: Server
  beforeAll(async () => {
    const disposals: Array<() => Promise<void>> = []
    server = await Server.create((dispose) => disposals.push(dispose))
    return async () => {
      for (const dispose of disposals) await dispose()
    }
  })

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

  /** Each store has its own schema in one database: a schema is created faster than a database. */
  let serial = 0
  const schema = Effect.promise(async () => {
    const name = `store_${++serial}`
    await server.query(`CREATE SCHEMA ${name}`)
    return name
  })

  const layer = (setup: Setup) =>
    Layer.unwrapEffect(
      Effect.gen(function* () {
        const name = yield* schema
        const url = `${server.url()}?options=${encodeURIComponent(`-c search_path=${name}`)}`
        const target = yield* Either.mapLeft(parsePostgresUrl(url), (problem) => new Error(problem))
        return Layer.merge(VmStorePostgres.layer(setup), StoreFiguresPostgres.layer).pipe(
          Layer.provideMerge(seeded(setup)),
          Layer.provide(PostgresDatabase.layer(target))
        )
      })
    ).pipe(Layer.orDie)

  vmStoreContract("PostgreSQL", layer)
  storeFiguresContract("PostgreSQL", layer)
  vmReplaceContract("PostgreSQL", layer)
  vmRunContract("PostgreSQL", layer, { hasHost: true, hasSettings: true })
})
