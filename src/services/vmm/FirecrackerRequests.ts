import type { ApiCall } from "./FirecrackerApi.js"
import type { VmSpec } from "./Vmm.js"

/** A console on the serial port; a reset is how a guest ends Firecracker. */
const defaultBootArgs = "console=ttyS0 reboot=k panic=1"

/** The calls that configure a VM, the machine first. */
export const configurationCalls = (spec: VmSpec): readonly [ApiCall, ...ReadonlyArray<ApiCall>] => {
  const put = (path: string, body: object): ApiCall => ({ method: "PUT", path, body })
  return [
    put("/machine-config", { vcpu_count: spec.vcpu_count, mem_size_mib: spec.mem_size_mib }),
    put("/boot-source", {
      kernel_image_path: spec.kernelPath,
      initrd_path: spec.initrdPath,
      boot_args: spec.bootArgs ?? defaultBootArgs
    }),
    ...spec.drives.map((drive) => put(`/drives/${drive.drive_id}`, drive)),
    put("/vsock", { guest_cid: spec.cid, uds_path: spec.files.vsockSocket }),
    ...spec.networkInterfaces.map((device) => put(`/network-interfaces/${device.iface_id}`, device))
  ]
}

/** Boots the guest. */
export const instanceStart: ApiCall = { method: "PUT", path: "/actions", body: { action_type: "InstanceStart" } }

/** Presses Ctrl+Alt+Del. */
export const sendCtrlAltDel: ApiCall = { method: "PUT", path: "/actions", body: { action_type: "SendCtrlAltDel" } }

export const pause: ApiCall = { method: "PATCH", path: "/vm", body: { state: "Paused" } }
export const resume: ApiCall = { method: "PATCH", path: "/vm", body: { state: "Resumed" } }
export const describeInstance: ApiCall = { method: "GET", path: "/" }
