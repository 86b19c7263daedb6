import { signal } from "@preact/signals"
import * as Either from "effect/Either"
import type { Vm } from "../../domain/Vm.js"
import { call, messageOf } from "./Daemon.js"
import { removeRecord, showRecord } from "./Inventory.js"
import { notify } from "./Notices.js"

/** What is being done to VMs, by id. */
export const underway = signal<ReadonlyMap<string, "starting" | "stopping">>(new Map())

const setUnderway = (id: string, doing: "starting" | "stopping" | undefined) => {
  const next = new Map(underway.value)
  if (doing === undefined) next.delete(id)
  else next.set(id, doing)
  underway.value = next
}

/** By id: a name may be another VM's by now. */
const target = ({ id }: Vm) => ({ path: { nameOrId: id } })

export const startVm = async (vm: Vm): Promise<void> => {
  setUnderway(vm.id, "starting")
  const started = await call((client) => client.vms.start(target(vm)))
  setUnderway(vm.id, undefined)
  Either.match(started, { onLeft: (error) => notify(messageOf(error)), onRight: showRecord })
}

/** Stops a VM: asks its guest, or with `force` kills its VMM at once. */
export const stopVm = async (vm: Vm, { force }: { readonly force: boolean }): Promise<void> => {
  setUnderway(vm.id, "stopping")
  const stopped = await call((client) => client.vms.stop({ ...target(vm), payload: { force } }))
  setUnderway(vm.id, undefined)
  Either.match(stopped, { onLeft: (error) => notify(messageOf(error)), onRight: showRecord })
}

/** Deletes a VM. Returns the message of a failure. */
export const deleteVm = async (vm: Vm): Promise<string | undefined> => {
  const deleted = await call((client) => client.vms.delete(target(vm)))
  if (Either.isLeft(deleted)) return messageOf(deleted.left)
  removeRecord(vm.id)
  return undefined
}
