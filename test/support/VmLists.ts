import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Vm, type VmQuery } from "../../src/domain/Vm.js"
import { type VmList, VmStore } from "../../src/services/VmStore.js"

const decode = Schema.decodeUnknown(Schema.parseJson(Schema.Array(Vm)))

/** The records that a list holds, read through the schema that the API gives it. */
export const recordsOf = ({ json }: VmList) =>
  (json instanceof Uint8Array
    ? Effect.succeed([json])
    : Effect.map(Stream.runCollect(json), (pieces) => Array.from(pieces))
  ).pipe(
    Effect.map((pieces) => Buffer.concat(pieces).toString("utf8")),
    Effect.flatMap((text) => Effect.orDie(decode(text)))
  )

/** The records that match, out of whichever store is provided. */
export const listVms = (query: VmQuery = {}) =>
  Effect.flatMap(VmStore, (store) => Effect.flatMap(store.list(query), recordsOf))
