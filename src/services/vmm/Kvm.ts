import { accessSync, constants } from "node:fs"

/** Whether this user may run VMs with KVM. */
export const isKvmUsable = (): boolean => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}
