import { accessSync, constants } from "node:fs"

/** Whether this user may read and write a device. */
const isUsable = (path: string): boolean => {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

export const isKvmUsable = () => isUsable("/dev/kvm")
export const isVhostVsockUsable = () => isUsable("/dev/vhost-vsock")
