import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import * as Yaml from "yaml"
import { toYaml } from "../../src/cli/nexusctl/output/VmYaml.js"
import { Vm } from "../../src/domain/Vm.js"
import { record } from "../support/Records.js"
import { dangerous } from "../support/TerminalTexts.js"

const text = FastCheck.oneof(
  FastCheck.string({ unit: "binary" }),
  FastCheck.string({ unit: "grapheme" }),
  FastCheck.string({ unit: FastCheck.constantFrom(..."{}[]:,#&*!|>'\"%@` \n\t-?\\a1\u202e\u2028\r".split("")) }),
  FastCheck.constantFrom("no", "null", "~", "1e3", "0x1f", "12:30", "2026-01-01", "<<", "- a", "a: b", "\u{e0041}")
)
const vm = FastCheck.record({ vm: Arbitrary.make(Vm), name: text, role: text, config_json: text }).map(
  ({ vm, ...texts }): Vm => ({ ...vm, ...texts })
)

describe("toYaml", () => {
  it("prints records that parse to the same, as YAML 1.2 and 1.1, without characters that a terminal acts on", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(FastCheck.array(vm, { maxLength: 3 }), async (vms) => {
        const yaml = await Effect.runPromise(toYaml(vms))
        expect(Yaml.parse(yaml)).toEqual(vms)
        expect(Yaml.parse(yaml, { version: "1.1" })).toEqual(vms)
        expect(yaml.replaceAll("\n", "")).not.toMatch(dangerous)
      })
    )
  })

  it("is plain where it can be", async () => {
    const { id, ...web } = record("web", { config_json: '{\n  "drives": []\n}\n' })
    expect(await Effect.runPromise(toYaml([web]))).toBe(
      `- name: web
  role: work
  state: created
  cid: 3
  vcpu_count: 1
  mem_size_mib: 128
  created_at: 1000
  updated_at: 1000
  config_json: |
    {
      "drives": []
    }
`
    )
    expect(id).toMatch(/-/)
  })
})
