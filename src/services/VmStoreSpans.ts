import { withChildSpan } from "../runtime/ChildSpan.js"
import { VmStore } from "./VmStore.js"

/** Adds a span to each call of a store, such as `VmStore.create`, where the caller has one. */
export const withSpans = (store: VmStore["Type"]): VmStore["Type"] =>
  VmStore.of({
    create: (params) => withChildSpan(store.create(params), "VmStore.create"),
    list: (query) => withChildSpan(store.list(query), "VmStore.list"),
    listJson: (selection) => withChildSpan(store.listJson(selection), "VmStore.listJson"),
    get: (nameOrId) => withChildSpan(store.get(nameOrId), "VmStore.get"),
    update: (nameOrId, update, precondition) =>
      withChildSpan(store.update(nameOrId, update, precondition), "VmStore.update"),
    replace: (params, precondition) => withChildSpan(store.replace(params, precondition), "VmStore.replace"),
    delete: (nameOrId, precondition) => withChildSpan(store.delete(nameOrId, precondition), "VmStore.delete"),
    transition: (nameOrId, decide, options) =>
      withChildSpan(store.transition(nameOrId, decide, options), "VmStore.transition"),
    getWithRun: (nameOrId) => withChildSpan(store.getWithRun(nameOrId), "VmStore.getWithRun"),
    running: withChildSpan(store.running, "VmStore.running"),
    runningExcept: (supervisor) => withChildSpan(store.runningExcept(supervisor), "VmStore.runningExcept"),
    databaseId: withChildSpan(store.databaseId, "VmStore.databaseId")
  })
