import { chmodSync, readFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { onTestFinished } from "vitest"
import type { VmSettings } from "../../src/services/VmSettings.js"
import { isKvmUsable, isVhostVsockUsable } from "../../src/services/vmm/DeviceAccess.js"
import { processArguments } from "../../src/services/vmm/HostProcesses.js"
import { programPath } from "../../src/services/vmm/ProgramPath.js"
import { Vmm } from "../../src/services/vmm/Vmm.js"
import * as VmmSelection from "../../src/services/vmm/VmmSelection.js"
import { makeHome } from "../support/Home.js"
import { isQemuUsable } from "../support/Vmms.js"
import { hostSignals, openVmSpec, vmSettings } from "../support/VmSpecs.js"
import { vmmContract } from "./VmmContract.js"

vmmContract("QEMU", isQemuUsable, () => ({
  layer: () => VmmSelection.layer({ ...vmSettings, vmm: "qemu" }),
  ...hostSignals,
  // With -no-reboot it can't be told from a reboot.
  panicEnd: "stopped",
  words: {
    badKernel: /^QEMU ended with exit code 1: .*kernel/,
    missingDrive: /^QEMU ended with exit code 1: .*Could not open '.*missing,disk.img': No such file/
  }
}))

/** Starts a VM with a QEMU that the shell's `command` stands in for where `word` is among its arguments. */
const startWith = (word: string, command: string, accel: VmSettings["accel"]) =>
  Effect.gen(function* () {
    const home = makeHome(onTestFinished)
    const script = `#!/bin/sh\ncase " $* " in *" ${word} "*) ${command};; esac\nexec ${programPath("qemu-system-x86_64")} "$@"\n`
    const qemu = home.write("qemu", script)
    chmodSync(qemu, 0o700)
    const { close, spec } = openVmSpec(home.path)
    onTestFinished(close)
    const { start } = yield* Effect.provide(Vmm, VmmSelection.layer({ ...vmSettings, vmm: "qemu", qemu, accel }))
    return { spec, started: start(spec) }
  })

const abort = 'echo "qemu: error: no such MSR" >&2; kill -ABRT $$'

it.live.skipIf(!isQemuUsable)("QEMU tells its last error if it aborts before the guest runs", () =>
  Effect.gen(function* () {
    const { started } = yield* startWith("tcg", abort, "tcg")
    const message = "QEMU ended with killed by SIGABRT: qemu: error: no such MSR"
    expect(yield* Effect.flip(started)).toMatchObject({ _tag: "StartFailed", message })
  })
)

const canChoose = isQemuUsable && isKvmUsable()

describe.skipIf(!canChoose)(`a VM that does not start under KVM${canChoose ? "" : " (needs /dev/kvm)"}`, () => {
  it.live("is emulated with vm.accel auto", () =>
    Effect.gen(function* () {
      const { spec, started } = yield* startWith("kvm", abort, "auto")
      const vm = yield* started
      expect(processArguments(vm.process.pid)).toContain("tcg")
      expect(readFileSync(spec.files.vmmLog, "utf8")).not.toContain("MSR")
      yield* vm.kill
    })
  )

  it.live("is not emulated with vm.accel kvm", () =>
    Effect.gen(function* () {
      const { started } = yield* startWith("kvm", abort, "kvm")
      expect(yield* Effect.flip(started)).toMatchObject({ _tag: "StartFailed" })
    })
  )
})

const hasVsock = isQemuUsable && isVhostVsockUsable()

it.live.skipIf(!hasVsock)("a vsock device has the record's CID, which no other VM has (needs /dev/vhost-vsock)", () =>
  Effect.gen(function* () {
    const { start } = yield* Effect.provide(Vmm, VmmSelection.layer({ ...vmSettings, vmm: "qemu" }))
    const home = makeHome(onTestFinished)
    const { close, spec } = openVmSpec(home.path)
    const { close: closeOther, spec: other } = openVmSpec(home.path, { cid: spec.cid })
    onTestFinished(() => {
      close()
      closeOther()
    })
    const vm = yield* start(spec)
    expect(processArguments(vm.process.pid)).toContain(
      JSON.stringify({ driver: "vhost-vsock-device", "guest-cid": spec.cid })
    )
    // The kernel refuses a CID that is in use.
    expect((yield* Effect.flip(start(other))).message).toMatch(/guest cid/)
    yield* vm.kill
  })
)
