import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Precondition } from "../../src/domain/VmTransition.js"
import { VmLifecycle } from "../../src/services/VmLifecycle.js"
import { VmStore } from "../../src/services/VmStore.js"

const unexpected = () => Effect.dieMessage("this call was not expected")

/** A lifecycle of which only `calls` can be made, and `delete`, which deletes the record. */
export const lifecycleStub = (calls: Partial<VmLifecycle["Type"]> = {}): Layer.Layer<VmLifecycle, never, VmStore> =>
  Layer.effect(
    VmLifecycle,
    Effect.map(VmStore, (store) => ({
      start: unexpected,
      stop: unexpected,
      loseHost: unexpected,
      delete: (nameOrId: string, precondition?: Precondition) => Effect.asVoid(store.delete(nameOrId, precondition)),
      logs: unexpected,
      wait: unexpected,
      ...calls
    }))
  )
