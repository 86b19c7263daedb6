import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { callApi } from "../../src/services/vmm/FirecrackerApi.js"
import { Vmm } from "../../src/services/vmm/Vmm.js"
import * as VmmSelection from "../../src/services/vmm/VmmSelection.js"
import { isFirecrackerUsable } from "../support/Vmms.js"
import { hostSignals, openVmSpec, vmSettings } from "../support/VmSpecs.js"
import { vmmContract } from "./VmmContract.js"

const layer = () => VmmSelection.layer({ ...vmSettings, vmm: "firecracker" })

vmmContract("Firecracker", isFirecrackerUsable, () => ({
  layer,
  ...hostSignals,
  panicEnd: "crashed",
  words: {
    badKernel: /^Firecracker refused \/actions: .*Invalid Elf magic number/,
    missingDrive: /^Firecracker refused \/drives\/data: .*No such file or directory.*missing,disk.img/
  }
}))

const acquireSpec = (more: Parameters<typeof openVmSpec>[1]) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const parent = mkdtempSync(join(tmpdir(), "nexus-firecracker-"))
        return { parent, ...openVmSpec(parent, more) }
      }),
      ({ close, parent }) =>
        Effect.sync(() => {
          close()
          rmSync(parent, { recursive: true })
        })
    ),
    ({ spec }) => spec
  )

const start = (more: Parameters<typeof openVmSpec>[1]) =>
  Effect.gen(function* () {
    const vmm = yield* Vmm
    const spec = yield* acquireSpec(more)
    return { spec, vm: yield* Effect.acquireRelease(vmm.start(spec), ({ kill }) => kill) }
  }).pipe(Effect.provide(layer()))

describe.skipIf(!isFirecrackerUsable)("Firecracker", () => {
  it.scopedLive("the vsock device has the record's CID", () =>
    Effect.gen(function* () {
      const { spec } = yield* start({})
      const config = JSON.parse(yield* callApi(spec.files.apiSocket, { method: "GET", path: "/vm/config" }))
      expect(config.vsock).toMatchObject({ guest_cid: spec.cid, uds_path: spec.files.vsockSocket })
    })
  )

  it.scopedLive("more vCPUs than it has: its reason", () =>
    Effect.gen(function* () {
      const { message } = yield* Effect.flip(start({ vcpu_count: 33 }))
      expect(message).toMatch(/^Firecracker refused \/machine-config: .*number of vCPUs/)
    })
  )

  it.scopedLive("a triple fault: the reason of its log", () =>
    Effect.gen(function* () {
      const { vm } = yield* start({ bootArgs: "guest=panic" })
      expect((yield* vm.ended).reason).toMatch(/^exit code [01]: Unexpected exit reason on vcpu run: Shutdown$/)
    })
  )

  it.scopedLive("a socket that is in use: the reason of its log, or of the VM that answers there", () =>
    Effect.gen(function* () {
      const { spec } = yield* start({})
      const vmm = yield* Effect.provide(Vmm, layer())
      const { message } = yield* Effect.flip(vmm.start(spec))
      expect(message).toMatch(/^Firecracker (?:ended with exit code 1|refused \/machine-config): /)
    })
  )
})
