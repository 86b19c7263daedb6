import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Vmm } from "../../src/services/vmm/Vmm.js"
import * as VmmSelection from "../../src/services/vmm/VmmSelection.js"
import { projectFolder } from "../support/Programs.js"
import { openVmSpec, vmSettings } from "../support/VmSpecs.js"

let folder = ""
let qemu = ""
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "nexus-qemu-"))
  // A VMM is recognised by its executable.
  const executable = join(folder, "qemu-system-fake")
  copyFileSync(process.execPath, executable)
  qemu = join(folder, "qemu")
  const script = join(projectFolder, "test/support/fake-qemu.cjs")
  writeFileSync(qemu, `#!/bin/sh\nexec '${executable}' '${script}' "$@"\n`, { mode: 0o755 })
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const start = Effect.gen(function* () {
  const vmm = yield* Effect.provide(Vmm, VmmSelection.layer({ ...vmSettings, vmm: "qemu", qemu }))
  const { spec } = yield* Effect.acquireRelease(
    Effect.sync(() => openVmSpec(folder)),
    ({ close }) => Effect.sync(close)
  )
  const vm = yield* Effect.acquireRelease(vmm.start(spec), ({ kill }) => kill)
  const attach = vmm.attach({ id: spec.id, vmm: "qemu", process: vm.process }, spec.files)
  const signal = (name: NodeJS.Signals) => Effect.sync(() => process.kill(vm.process.pid, name))
  return { vm, signal, attach: Effect.acquireRelease(attach, ({ detach }) => detach) }
})

const end = {
  state: "crashed",
  reason: "QEMU stopped the guest: internal-error: KVM internal error. Suberror: 1"
}

describe("a guest that QEMU stops for a fault", () => {
  it.scopedLive("is killed, and has crashed for that reason", () =>
    Effect.gen(function* () {
      const { signal, vm } = yield* start
      yield* signal("SIGUSR2")
      expect(yield* vm.ended).toEqual(end)
    })
  )

  it.scopedLive("is killed by the nexusd that adopts it, if it was stopped meanwhile", () =>
    Effect.gen(function* () {
      const { attach, signal, vm } = yield* start
      yield* vm.detach
      yield* signal("SIGUSR2")
      const adopted = yield* attach
      expect(yield* adopted.ended).toEqual(end)
    })
  )

  it.scopedLive("is told from one that is paused", () =>
    Effect.gen(function* () {
      const { signal, vm } = yield* start
      yield* signal("SIGUSR1")
      while ((yield* vm.guestState) !== "paused") yield* Effect.sleep("5 millis")
      // An answer that came after the event.
      expect(yield* vm.guestState).toBe("paused")
      yield* vm.kill
      expect(yield* vm.ended).toEqual({ state: "crashed", reason: "killed by SIGKILL" })
    })
  )
})
