import * as SqlClient from "@effect/sql/SqlClient"
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { beforeAll, describe } from "vitest"
import { parsePostgresUrl } from "../../src/services/PostgresUrl.js"
import * as PostgresDatabase from "../../src/services/postgres/PostgresDatabase.js"
import * as StoreFiguresPostgres from "../../src/services/postgres/StoreFiguresPostgres.js"
import * as VmStorePostgres from "../../src/services/postgres/VmStorePostgres.js"
import type { StoreFigures } from "../../src/services/StoreFigures.js"
import type { VmStore } from "../../src/services/VmStore.js"
import { afterSuite } from "../support/AfterSuite.js"
import { hasPgBouncer, needsPgBouncer, PgBouncer } from "../support/PgBouncer.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { storeFiguresContract } from "./StoreFiguresContract.js"
import { vmReplaceContract } from "./VmReplaceContract.js"
import { vmRunContract } from "./VmRunContract.js"
import { type Setup, vmStoreContract } from "./VmStoreContract.js"

const seeded = ({ initial = [], settings = [] }: Setup) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      // A connection is taken for less than 3 s.
      yield* Effect.forEach(Array.chunksOf(initial, 500), (vms) =>
        sql.withTransaction(
          Effect.forEach(vms, (vm) => sql`INSERT INTO vms ${sql.insert({ ...vm })}`, { discard: true })
        )
      )
      yield* Effect.forEach(settings, (row) => sql`INSERT INTO settings ${sql.insert({ ...row })}`)
    })
  )

/**
 * Each store has its own role, and the schema of its name, in one database: a schema is created faster than a database, and a
 * role's default `search_path` begins with it.
 */
const storeLayers = (server: () => Server, url: (role: string) => string) => {
  let serial = 0
  return (setup: Setup) =>
    Layer.unwrapScoped(
      Effect.gen(function* () {
        const role = `store_${++serial}`
        yield* Effect.promise(() => server().query(`CREATE ROLE ${role} LOGIN; CREATE SCHEMA AUTHORIZATION ${role}`))
        // PgBouncer keeps a role's connections for ten minutes.
        const disconnect = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1"
        yield* Effect.addFinalizer(() => Effect.promise(() => server().query(disconnect, { values: [role] })))
        const target = yield* Either.mapLeft(parsePostgresUrl(url(role)), (problem) => new Error(problem))
        return Layer.merge(VmStorePostgres.layer(setup), StoreFiguresPostgres.layer).pipe(
          Layer.provideMerge(seeded(setup)),
          Layer.provide(PostgresDatabase.layer(target))
        )
      })
    ).pipe(Layer.orDie)
}

const contracts = (name: string, layer: (setup: Setup) => Layer.Layer<VmStore | StoreFigures>) => {
  vmStoreContract(name, layer)
  storeFiguresContract(name, layer)
  vmReplaceContract(name, layer)
  vmRunContract(name, layer, { hasHost: true, hasSettings: true })
}

describe.skipIf(!hasPostgres)(`PostgreSQL${needsPostgres}`, () => {
  let server: Server
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
  })

  contracts(
    "PostgreSQL",
    storeLayers(
      () => server,
      (role) => server.url("postgres", role)
    )
  )
})

describe.skipIf(!hasPgBouncer)(`PostgreSQL through PgBouncer${needsPgBouncer}`, () => {
  let server: Server
  let pooler: PgBouncer
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
    pooler = await PgBouncer.create(atEnd, server)
  })

  contracts(
    "PostgreSQL through PgBouncer",
    storeLayers(
      () => server,
      (role) => pooler.url("postgres", role)
    )
  )
})
