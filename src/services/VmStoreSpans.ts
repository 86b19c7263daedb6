import { withChildSpan } from "../runtime/ChildSpan.js"
import { VmStore } from "./VmStore.js"

/** Adds a span to each call of a store, such as `VmStore.create`, where the caller has one. */
export const withSpans = (store: VmStore["Type"]): VmStore["Type"] =>
  VmStore.of({
    create: (params) => withChildSpan(store.create(params), "VmStore.create"),
    list: (query) => withChildSpan(store.list(query), "VmStore.list"),
    listJson: (selection) => withChildSpan(store.listJson(selection), "VmStore.listJson"),
    get: (nameOrId) => withChildSpan(store.get(nameOrId), "VmStore.get"),
    delete: (nameOrId) => withChildSpan(store.delete(nameOrId), "VmStore.delete")
  })
