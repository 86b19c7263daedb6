import * as Schema from "effect/Schema"
import { wholeNumber } from "./Schemas.js"

/** The database, as a healthy store reports it. */
export const DatabaseStatus = Schema.Struct({
  path: Schema.String.annotations({ description: "Where the records are kept" }),
  table_count: wholeNumber("Number of user tables"),
  size_bytes: wholeNumber("Size of the database, in bytes")
}).annotations({ identifier: "DatabaseStatus" })
export type DatabaseStatus = typeof DatabaseStatus.Type

/** A healthy daemon's answer to `GET /v1/health`. Daemons of the step 4 plan send no `version`. */
export const Health = Schema.Struct({
  status: Schema.Literal("ok"),
  version: Schema.optionalWith(Schema.String.annotations({ description: "The daemon's version" }), { exact: true }),
  database: DatabaseStatus
}).annotations({
  identifier: "Health",
  parseOptions: { onExcessProperty: "preserve" },
  examples: [
    {
      status: "ok",
      version: "0.1.0",
      database: { path: "/home/me/.local/state/nexus/nexus.db", table_count: 3, size_bytes: 45056 }
    }
  ]
})
export type Health = typeof Health.Type

/** The answer of `GET /livez` and `GET /readyz` when all is well. */
export const Probe = Schema.Struct({ status: Schema.Literal("ok") }).annotations({ identifier: "Probe" })
