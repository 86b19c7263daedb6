import type { Vm } from "../../src/domain/Vm.js"
import { call } from "./HttpJson.js"

/** Creates a record through the API; fails unless the answer is 201. */
export const createVm = async (daemon: { readonly url: string }, name: string, more: object = {}): Promise<Vm> => {
  const { body, status } = await call(daemon, "POST", "/v1/vms", { name, ...more })
  if (status !== 201) throw new Error(`creating ${name} was answered with ${status}: ${JSON.stringify(body)}`)
  return body as Vm
}

/** Lists all records through the API. */
export const listVms = async (daemon: { readonly url: string }): Promise<ReadonlyArray<Vm>> =>
  (await call(daemon, "GET", "/v1/vms")).body as ReadonlyArray<Vm>
