import type { VmSpec } from "./Vmm.js"
import { idOption } from "./VmmRecognition.js"

/** What this host has for QEMU. */
export interface QemuHost {
  readonly accel: "kvm" | "tcg"
  readonly hasVhostVsock: boolean
  readonly isBlockDevice: (path: string) => boolean
}

/** A console on the serial port; a reset or a power-off is how a guest ends QEMU. */
const defaultBootArgs = "console=ttyS0 reboot=t panic=-1"

/** A value in a list of options (QEMU's documentation, "escaping commas"). */
const escape = (value: string) => value.replaceAll(",", ",,")

/** As Firecracker does: the root device is the first drive, and named to the kernel. */
const rootFirst = ({ drives }: VmSpec) => [
  ...drives.filter(({ is_root_device }) => is_root_device),
  ...drives.filter(({ is_root_device }) => !is_root_device)
]

const rootArgs = ({ drives }: VmSpec) =>
  drives
    .filter(({ is_root_device }) => is_root_device)
    .map(({ is_read_only }) => `root=/dev/vda ${is_read_only ? "ro" : "rw"}`)

const drive = (path: string, isReadOnly: boolean, index: number, { isBlockDevice }: QemuHost) => {
  const driver = isBlockDevice(path) ? "host_device" : "file"
  const node = `drive-${index}`
  return [
    "-blockdev",
    JSON.stringify({
      driver: "raw",
      "node-name": node,
      "read-only": isReadOnly,
      file: { driver, filename: path, "read-only": isReadOnly }
    }),
    "-device",
    // Errors are reported to the guest. By default QEMU stops it when the host's disk is full.
    JSON.stringify({ driver: "virtio-blk-device", drive: node, werror: "report", rerror: "report" })
  ]
}

const networkInterface = (tap: string, mac: string | undefined, index: number) => {
  const id = `net-${index}`
  return [
    "-netdev",
    JSON.stringify({ type: "tap", id, ifname: tap, script: "no", downscript: "no" }),
    "-device",
    JSON.stringify({ driver: "virtio-net-device", netdev: id, mac })
  ]
}

/**
 * The arguments of a microvm without any default device. Paths stand in JSON, or as arguments of their own, where a comma
 * starts no other option.
 */
export const qemuArguments = (spec: VmSpec, host: QemuHost): ReadonlyArray<string> => [
  idOption.qemu,
  spec.id,
  "-name",
  `guest=${escape(spec.name)}`,
  "-M",
  // Without `x-option-roms=off` the guest hangs. ACPI has the power button.
  "microvm,x-option-roms=off,rtc=on,acpi=on",
  "-accel",
  host.accel,
  "-cpu",
  host.accel === "kvm" ? "host" : "max",
  "-smp",
  String(spec.vcpu_count),
  "-m",
  String(spec.mem_size_mib),
  "-nodefaults",
  "-no-user-config",
  "-nographic",
  "-no-reboot",
  "-sandbox",
  "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
  "-chardev",
  "stdio,id=console,signal=off",
  "-serial",
  "chardev:console",
  "-chardev",
  `socket,id=qmp,path=${escape(spec.files.apiSocket)},server=on,wait=off`,
  "-mon",
  "chardev=qmp,mode=control",
  // Lines on stderr that tell how QEMU ended.
  "-trace",
  "qemu_system_shutdown_request",
  "-trace",
  "monitor_protocol_event_emit",
  "-kernel",
  spec.kernelPath,
  ...(spec.initrdPath === undefined ? [] : ["-initrd", spec.initrdPath]),
  "-append",
  [spec.bootArgs ?? defaultBootArgs, ...rootArgs(spec)].join(" "),
  ...rootFirst(spec).flatMap(({ is_read_only = false, path_on_host }, index) =>
    drive(path_on_host, is_read_only, index, host)
  ),
  ...spec.networkInterfaces.flatMap(({ guest_mac, host_dev_name }, index) =>
    networkInterface(host_dev_name, guest_mac, index)
  ),
  ...(host.hasVhostVsock ? ["-device", JSON.stringify({ driver: "vhost-vsock-device", "guest-cid": spec.cid })] : [])
]
