import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../../src/domain/Errors.js"
import { Vm, type VmQuery } from "../../src/domain/Vm.js"
import { type VmList, VmStore } from "../../src/services/VmStore.js"

const decodeAll = Schema.decodeUnknown(Schema.parseJson(Schema.Array(Vm)))

const decode = Schema.decodeUnknown(Schema.parseJson(Vm))

/** The record with that id or name, out of whichever store is provided. */
export const getVm = (nameOrId: string) =>
  Effect.flatMap(VmStore, (store) => Effect.flatMap(store.get(nameOrId), (text) => Effect.orDie(decode(text))))

/** The records that a list holds, read through the schema that the API gives it. */
export const recordsOf = ({ json }: VmList) =>
  (json instanceof Uint8Array
    ? Effect.succeed([json])
    : Effect.map(Stream.runCollect(json), (pieces) => Array.from(pieces))
  ).pipe(
    Effect.map((pieces) => Buffer.concat(pieces).toString("utf8")),
    Effect.flatMap((text) => Effect.orDie(decodeAll(text)))
  )

/** The records that match, out of whichever store is provided. */
export const listVms = (query: VmQuery = {}) =>
  Effect.flatMap(VmStore, (store) => Effect.flatMap(store.list(query), recordsOf))

/** The same, page after page. */
export const listByPages = (query: VmQuery): Effect.Effect<ReadonlyArray<Vm>, StoreUnavailable, VmStore> =>
  Effect.gen(function* () {
    const store = yield* VmStore
    const page = yield* store.list(query)
    const records = yield* recordsOf(page)
    return page.next === undefined ? records : [...records, ...(yield* listByPages({ ...query, cursor: page.next }))]
  })
