import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { beforeAll, describe } from "vitest"
import { parsePostgresUrl } from "../../src/services/PostgresUrl.js"
import * as PostgresDatabase from "../../src/services/postgres/PostgresDatabase.js"
import * as VmStorePostgres from "../../src/services/postgres/VmStorePostgres.js"
import { afterSuite } from "../support/AfterSuite.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"
import { vmEventsContract } from "./VmEventsContract.js"

describe.skipIf(!hasPostgres)(`Events on PostgreSQL${needsPostgres}`, () => {
  let server: Server
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
  })

  /** Each store has its own role, and the schema of its name. */
  let serial = 0
  const layer = Layer.unwrapEffect(
    Effect.gen(function* () {
      const role = `store_${++serial}`
      yield* Effect.promise(() => server.query(`CREATE ROLE ${role} LOGIN; CREATE SCHEMA AUTHORIZATION ${role}`))
      const target = yield* parsePostgresUrl(server.url("postgres", role))
      return VmStorePostgres.layer().pipe(Layer.provide(PostgresDatabase.layer(target)))
    })
  ).pipe(Layer.orDie)

  // How far back a stream resumes, and when a subscriber has stalled, is not up to the database.
  vmEventsContract("PostgreSQL", layer, { numRuns: 10, isFast: false })
})
