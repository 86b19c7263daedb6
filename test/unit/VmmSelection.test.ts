import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { VmSettings } from "../../src/services/VmSettings.js"
import { isKvmUsable } from "../../src/services/vmm/DeviceAccess.js"
import { programPath } from "../../src/services/vmm/ProgramPath.js"
import { Vmm } from "../../src/services/vmm/Vmm.js"
import * as VmmSelection from "../../src/services/vmm/VmmSelection.js"
import { vmSettings } from "../support/VmSpecs.js"

describe("the choice of the VMM", () => {
  let folder = ""
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "nexus-programs-"))
    for (const name of ["firecracker", "qemu"]) {
      writeFileSync(join(folder, name), "#!/bin/sh\n")
      chmodSync(join(folder, name), 0o755)
    }
    writeFileSync(join(folder, "text"), "no program\n")
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const available = (settings: Partial<VmSettings>) =>
    Effect.flatMap(Vmm, (vmm) => vmm.available).pipe(
      Effect.provide(VmmSelection.layer({ ...vmSettings, ...settings })),
      Effect.either,
      Effect.runSync,
      Either.mapLeft(({ message }) => message)
    )
  const program = (name: string) => join(folder, name)

  it.skipIf(!isKvmUsable())("auto is Firecracker where it and /dev/kvm are there", () => {
    expect(available({ firecracker: program("firecracker"), qemu: program("qemu") })).toEqual(
      Either.right("firecracker")
    )
  })

  it("auto is QEMU where there is no Firecracker", () => {
    expect(available({ firecracker: program("none"), qemu: program("qemu") })).toEqual(Either.right("qemu"))
  })

  it("without a program, the error says what to install and which setting names it", () => {
    const noFirecracker = `found no program '${program("none")}': install Firecracker, or set vm.firecracker`
    const noQemu = `found no program '${program("text")}': install QEMU (package qemu-system-x86), or set vm.qemu`
    const programs = { firecracker: program("none"), qemu: program("text") }
    expect(available(programs)).toEqual(Either.left(`${noFirecracker}; ${noQemu}`))
    expect(available({ ...programs, vmm: "firecracker" })).toEqual(Either.left(noFirecracker))
    expect(available({ ...programs, vmm: "qemu" })).toEqual(Either.left(noQemu))
  })

  it("a VMM that is chosen is not replaced by another", () => {
    const programs = { firecracker: program("none"), qemu: program("qemu") }
    expect(available({ ...programs, vmm: "firecracker" })).toEqual(
      Either.left(expect.stringContaining("vm.firecracker"))
    )
  })

  it("a program is found by its name on the PATH, or by its path", () => {
    expect(programPath("sh")).toMatch(/\/sh$/)
    expect(programPath(program("qemu"))).toBe(program("qemu"))
    expect([program("text"), folder, "no-such-program"].map(programPath)).toEqual([undefined, undefined, undefined])
  })
})
