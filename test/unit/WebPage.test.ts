import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { makeConsoleText } from "../../src/web/state/ConsoleText.js"
import { bounds, emptyForm, readForm } from "../../src/web/state/CreateForm.js"
import { initialSelection, select, sortedBy } from "../../src/web/state/Selection.js"
import { totalsOf } from "../../src/web/state/Totals.js"
import { record } from "../support/Records.js"

const anyVm = FastCheck.record({
  name: FastCheck.stringMatching(/^[a-c]{1,3}[0-9]{0,2}$/),
  role: FastCheck.constantFrom("portal", "work", "other"),
  state: FastCheck.constantFrom("created", "running", "paused"),
  cid: FastCheck.nat(),
  vcpu_count: FastCheck.nat(64),
  mem_size_mib: FastCheck.nat(4096)
}).map(({ name, ...more }) => record(name, more))

const anyVms = FastCheck.array(anyVm)

describe("the list of the web page", () => {
  it("has the records that match, each once, and no other", () => {
    FastCheck.assert(
      FastCheck.property(
        anyVms,
        FastCheck.stringMatching(/^[A-C]{0,2}$/),
        FastCheck.constantFrom("", "work"),
        FastCheck.constantFrom("", "running"),
        (vms, text, role, state) => {
          const selected = new Set(select(vms, { ...initialSelection, text, role, state }))
          for (const vm of vms) {
            const isWanted =
              (role === "" || vm.role === role) &&
              (state === "" || vm.state === state) &&
              [vm.name, vm.id, `${vm.cid}`].some((field) => field.includes(text.toLowerCase()))
            expect(selected.has(vm)).toBe(isWanted)
          }
        }
      )
    )
  })

  it("sorts by a column, and the other way round by the same column again", () => {
    FastCheck.assert(
      FastCheck.property(anyVms, (vms) => {
        const up = sortedBy(initialSelection, "mem_size_mib")
        const sizes = (selection: typeof up) => select(vms, selection).map(({ mem_size_mib }) => mem_size_mib)
        const sorted = vms.map(({ mem_size_mib }) => mem_size_mib).sort((a, b) => a - b)
        expect(sizes(up)).toEqual(sorted)
        expect(sizes(sortedBy(up, "mem_size_mib"))).toEqual(sorted.toReversed())
      })
    )
  })

  it("has totals that add up", () => {
    FastCheck.assert(
      FastCheck.property(anyVms, (vms) => {
        const { count, memoryMib, roles, states, vcpus } = totalsOf(vms)
        const sum = (counts: ReadonlyMap<string, number>) => Array.from(counts.values()).reduce((a, b) => a + b, 0)
        expect([count, sum(roles), sum(states)]).toEqual([vms.length, vms.length, vms.length])
        const running = vms.filter(({ state }) => state === "running")
        const total = (of: ReadonlyArray<(typeof vms)[number]>, field: "mem_size_mib" | "vcpu_count") =>
          of.reduce((sum, vm) => sum + vm[field], 0)
        expect(memoryMib).toEqual({ running: total(running, "mem_size_mib"), all: total(vms, "mem_size_mib") })
        expect(vcpus).toEqual({ running: total(running, "vcpu_count"), all: total(vms, "vcpu_count") })
      })
    )
  })
})

describe("the console of the web page", () => {
  it("escapes what is no text, across chunks", () => {
    const append = makeConsoleText()
    append(new TextEncoder().encode("a\tb\r"))
    expect(append(new TextEncoder().encode("\n\x1b[31m<b>\u202e\n"))).toBe("a\tb\n\\x1b[31m<b>\\u202e\n")
  })

  it("keeps whole lines of the end in bounded memory", () => {
    const append = makeConsoleText()
    let text = ""
    for (let line = 0; line < 100_000; line++) text = append(new TextEncoder().encode(`line ${line}\n`))
    expect(text.length).toBeLessThan(600_000)
    expect(text).toMatch(/^line \d+\n/)
    expect(text.endsWith("line 99998\nline 99999\n")).toBe(true)
  })
})

describe("the form of the web page", () => {
  it("takes defaults for fields without text", () => {
    expect(readForm({ ...emptyForm, name: "web", vcpu_count: "", mem_size_mib: " " })).toEqual(
      Either.right({ name: "web", role: "work", vcpu_count: 1, mem_size_mib: 128 })
    )
  })

  it("has the bounds of the schemas", () => {
    expect(bounds).toEqual({ vcpu_count: { min: 1, max: 32 }, mem_size_mib: { min: 1, max: 1048576 } })
    const form = { ...emptyForm, name: "web", vcpu_count: "0", mem_size_mib: "1.5", config_json: "{" }
    expect(readForm(form)).toEqual(
      Either.left({
        vcpu_count: "expected a whole number from 1 to 32, got 0",
        mem_size_mib: "expected a whole number from 1 to 1048576, got 1.5",
        config_json: "expected JSON text"
      })
    )
  })
})
