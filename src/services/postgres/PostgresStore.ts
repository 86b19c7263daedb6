import type * as Layer from "effect/Layer"
import { provideMerge } from "effect/Layer"
import type { DatabaseRefused } from "../DatabaseFiles.js"
import type { StoreStatus } from "../StoreStatus.js"
import type { VmStore } from "../VmStore.js"
import * as PostgresDatabase from "./PostgresDatabase.js"
import type { PostgresTarget } from "./PostgresUrl.js"
import * as VmStorePostgres from "./VmStorePostgres.js"

/** Records in the database that a URL names. Loads pg, which a daemon with SQLite has no use for. */
export const layer = (target: PostgresTarget): Layer.Layer<VmStore | StoreStatus, DatabaseRefused> =>
  VmStorePostgres.layer().pipe(provideMerge(PostgresDatabase.layer(target)))
