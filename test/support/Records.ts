import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { StoreUnavailable } from "../../src/domain/Errors.js"
import { Vm } from "../../src/domain/Vm.js"
import type { VmPageQuery, VmSelection } from "../../src/domain/VmQuery.js"
import { type VmListJson, VmStore } from "../../src/services/VmStore.js"

const decodeVm = Schema.decodeSync(Vm)

/** A record as a store may hold it. */
export const record = (name: string, more?: Partial<typeof Vm.Encoded>): Vm =>
  decodeVm({
    id: crypto.randomUUID(),
    name,
    role: "work",
    state: "created",
    cid: 3,
    vcpu_count: 1,
    mem_size_mib: 128,
    created_at: 1000,
    updated_at: 1000,
    ...more
  })

/** The record with that id or name, out of whichever store is provided. */
export const getVm = (nameOrId: string) => Effect.flatMap(VmStore, (store) => store.get(nameOrId))

const decodeList = Schema.decodeUnknown(Schema.parseJson(Schema.Array(Vm)))

/** The records of a list's JSON. */
export const decodeJson = (list: VmListJson) =>
  Stream.runCollect(list instanceof Uint8Array ? Stream.make(list) : list).pipe(
    Effect.map((chunks) => Buffer.concat(Array.from(chunks)).toString("utf8")),
    Effect.flatMap((text) => Effect.orDie(decodeList(text)))
  )

/** The records that match, out of whichever store is provided. */
export const listVms = (selection: VmSelection = {}) =>
  Effect.flatMap(VmStore, (store) => Effect.flatMap(store.listJson(selection), decodeJson))

/** The same, page after page. */
export const listByPages = (query: VmPageQuery): Effect.Effect<ReadonlyArray<Vm>, StoreUnavailable, VmStore> =>
  Effect.gen(function* () {
    const store = yield* VmStore
    const { next, vms } = yield* store.list(query)
    return next === undefined ? vms : [...vms, ...(yield* listByPages({ ...query, cursor: next }))]
  })
