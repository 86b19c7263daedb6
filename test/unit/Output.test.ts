import * as Arbitrary from "effect/Arbitrary"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { displayWidth } from "../../src/cli/nexusctl/DisplayWidth.js"
import { vmDetails, vmTable } from "../../src/cli/nexusctl/Output.js"
import { Vm } from "../../src/domain/Vm.js"
import { dangerous } from "../support/TerminalTexts.js"

const text = FastCheck.oneof(FastCheck.string({ unit: "binary" }), FastCheck.string({ unit: "grapheme" }))

/** Any record that can be read, with any Unicode in the columns of the table. */
const vm = FastCheck.record({ vm: Arbitrary.make(Vm), name: text, role: text, state: text }).map(
  ({ vm, ...texts }): Vm => ({ ...vm, ...texts })
)
const vms = FastCheck.array(vm, { maxLength: 5 })

describe("vmTable", () => {
  it("begins the last column at the same display column on every line", () => {
    FastCheck.assert(
      FastCheck.property(vms, (vms) => {
        const starts = vmTable(vms).map((line) => displayWidth(line.slice(0, line.lastIndexOf(" ") + 1)))
        expect(new Set(starts).size).toBe(1)
      })
    )
  })

  it("has one line for each record, without trailing blanks or control characters", () => {
    FastCheck.assert(
      FastCheck.property(vms, (vms) => {
        const lines = vmTable(vms)
        expect(lines).toHaveLength(vms.length + 1)
        for (const line of lines) {
          expect(line).not.toMatch(dangerous)
          expect(line).not.toMatch(/\n|\s$/)
        }
      })
    )
  })
})

describe("vmDetails", () => {
  it("puts every value at column 13", () => {
    FastCheck.assert(
      FastCheck.property(vm, (vm) => {
        const lines = vmDetails(vm)
        expect(lines.map((line) => line.slice(0, 12))).toEqual(
          ["Name", "ID", "Role", "State", "CID", "vCPUs", "Memory", "Created"]
            .concat(vm.started_at === undefined ? [] : ["Started"], vm.stopped_at === undefined ? [] : ["Stopped"])
            .map((label) => `${label}:`.padEnd(12))
        )
        expect(lines.slice(0, 2).map((line) => line.slice(12))).toEqual([vm.name, vm.id])
      })
    )
  })
})
