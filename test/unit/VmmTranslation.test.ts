import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { Cid, VmId } from "../../src/domain/Vm.js"
import { configurationCalls } from "../../src/services/vmm/FirecrackerRequests.js"
import { type QemuHost, qemuArguments } from "../../src/services/vmm/QemuArguments.js"
import type { VmSpec } from "../../src/services/vmm/Vmm.js"
import { vmFiles } from "../support/VmSpecs.js"

const spec: VmSpec = {
  id: VmId.make("5a0d5b3e-0a57-4c2e-9c4e-2f7c39a3a1de"),
  name: "web",
  cid: Cid.make(7),
  vcpu_count: 2,
  mem_size_mib: 256,
  kernelPath: "/kernel",
  initrdPath: undefined,
  bootArgs: undefined,
  drives: [],
  networkInterfaces: [],
  files: vmFiles("/vms/web"),
  consoleDescriptor: 1,
  vmmLogDescriptor: 2
}
const tcg: QemuHost = { accel: "tcg", hasVhostVsock: false, isBlockDevice: () => false }

const valuesOf = (args: ReadonlyArray<string>, option: string) =>
  args.flatMap((arg, index) => (arg === option ? [args[index + 1] ?? ""] : []))
const devicesOf = (args: ReadonlyArray<string>) => valuesOf(args, "-device").map((text) => JSON.parse(text))

/** Any text, commas, quotes and look-alikes of options included. */
const text = FastCheck.oneof(
  FastCheck.string({ unit: "binary" }),
  FastCheck.string({ unit: FastCheck.constantFrom(",", "=", '"', "'", "\\", "{", "}", " ", "-", "%", "a", ":") }),
  FastCheck.constantFrom("-uuid", "-append", "x,readonly=on", "json:{}", "nbd:localhost:1")
).map((value) => value.replaceAll("\0", ""))
const path = text.map((value) => `/${value}`)

describe("Firecracker's configuration", () => {
  const bodiesOf = (spec: VmSpec) =>
    configurationCalls(spec).map(({ body, path }) => [path, JSON.parse(JSON.stringify(body))])

  it("has the record's size, the default boot arguments and the vsock device", () => {
    expect(bodiesOf(spec)).toEqual([
      ["/machine-config", { vcpu_count: 2, mem_size_mib: 256 }],
      ["/boot-source", { kernel_image_path: "/kernel", boot_args: "console=ttyS0 reboot=k panic=1" }],
      ["/vsock", { guest_cid: 7, uds_path: "/vms/web/vsock.sock" }]
    ])
  })

  it("has initrd, boot arguments, drives and network interfaces as configured", () => {
    const drive = { drive_id: "root", path_on_host: "/root.img", is_root_device: true, is_read_only: true }
    const device = { iface_id: "eth0", host_dev_name: "tap0", guest_mac: "06:00:ac:10:00:02" }
    const more = { initrdPath: "/initrd", bootArgs: "", drives: [drive], networkInterfaces: [device] }
    expect(bodiesOf({ ...spec, ...more })).toEqual(
      expect.arrayContaining([
        ["/boot-source", { kernel_image_path: "/kernel", initrd_path: "/initrd", boot_args: "" }],
        ["/drives/root", drive],
        ["/network-interfaces/eth0", device]
      ])
    )
  })
})

describe("QEMU's arguments", () => {
  it("name the VM first, so that no value can look like its id", () => {
    expect(qemuArguments({ ...spec, bootArgs: "-uuid x" }, tcg).slice(0, 2)).toEqual(["-uuid", spec.id])
  })

  it("have the record's size and the accelerator", () => {
    const args = qemuArguments(spec, tcg)
    expect(["-smp", "-m", "-accel", "-cpu"].flatMap((option) => valuesOf(args, option))).toEqual([
      "2",
      "256",
      "tcg",
      "max"
    ])
    expect(valuesOf(qemuArguments(spec, { ...tcg, accel: "kvm" }), "-cpu")).toEqual(["host"])
    expect(valuesOf(args, "-append")).toEqual(["console=ttyS0 reboot=t panic=-1"])
  })

  it("have its sandbox, and no default device", () => {
    const args = qemuArguments(spec, tcg)
    expect(valuesOf(args, "-sandbox")).toEqual([
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    ])
    expect(args).toEqual(expect.arrayContaining(["-nodefaults", "-no-user-config", "-no-reboot"]))
    expect(devicesOf(args)).toEqual([])
  })

  it("have a vsock device with the record's CID where the host has vhost-vsock", () => {
    expect(devicesOf(qemuArguments(spec, { ...tcg, hasVhostVsock: true }))).toEqual([
      { driver: "vhost-vsock-device", "guest-cid": 7 }
    ])
  })

  it("put the root device first, and name it to the kernel", () => {
    const drives = [
      { drive_id: "data", path_on_host: "/data.img", is_root_device: false },
      { drive_id: "root", path_on_host: "/dev/root", is_root_device: true, is_read_only: true }
    ]
    const args = qemuArguments(
      { ...spec, bootArgs: "a=1", drives },
      { ...tcg, isBlockDevice: (path) => path === "/dev/root" }
    )
    expect(valuesOf(args, "-append")).toEqual(["a=1 root=/dev/vda ro"])
    expect(valuesOf(args, "-blockdev").map((json) => JSON.parse(json))).toEqual([
      {
        driver: "raw",
        "node-name": "drive-0",
        "read-only": true,
        file: { driver: "host_device", filename: "/dev/root", "read-only": true }
      },
      {
        driver: "raw",
        "node-name": "drive-1",
        "read-only": false,
        file: { driver: "file", filename: "/data.img", "read-only": false }
      }
    ])
    expect(devicesOf(args)).toEqual([
      { driver: "virtio-blk-device", drive: "drive-0", werror: "report", rerror: "report" },
      { driver: "virtio-blk-device", drive: "drive-1", werror: "report", rerror: "report" }
    ])
  })

  it("run no script for a tap", () => {
    const networkInterfaces = [{ iface_id: "eth0", host_dev_name: "tap,0", guest_mac: "06:00:ac:10:00:02" }]
    const args = qemuArguments({ ...spec, networkInterfaces }, tcg)
    expect(valuesOf(args, "-netdev").map((json) => JSON.parse(json))).toEqual([
      { type: "tap", id: "net-0", ifname: "tap,0", script: "no", downscript: "no" }
    ])
    expect(devicesOf(args)).toEqual([{ driver: "virtio-net-device", netdev: "net-0", mac: "06:00:ac:10:00:02" }])
  })

  it("keep any path, name and boot arguments in one value each", () => {
    FastCheck.assert(
      FastCheck.property(path, path, text, text, path, (kernelPath, drivePath, bootArgs, name, folder) => {
        const drives = [{ drive_id: "data", path_on_host: drivePath, is_root_device: false }]
        const args = qemuArguments({ ...spec, kernelPath, bootArgs, name, drives, files: vmFiles(folder) }, tcg)
        const plain = qemuArguments({ ...spec, drives }, tcg)
        expect(args).toHaveLength(plain.length)
        /** What stands after an option, by the place that it has with plain values. */
        const at = (option: string) => args[plain.indexOf(option) + 1] ?? ""
        expect(at("-kernel")).toBe(kernelPath)
        expect(at("-append")).toBe(bootArgs)
        expect(JSON.parse(at("-blockdev")).file.filename).toBe(drivePath)
        // Two commas stand for one.
        expect(at("-name").replaceAll(",,", "")).not.toContain(",")
        const monitor = args.find((_, index) => plain[index]?.startsWith("socket,"))
        const { apiSocket } = vmFiles(folder)
        expect(monitor).toBe(`socket,id=qmp,path=${apiSocket.replaceAll(",", ",,")},server=on,wait=off`)
      })
    )
  })
})
