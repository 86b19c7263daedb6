import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { changedFields, decodeEntry, editableFields, parseVms } from "../../src/cli/nexusctl/commands/VmDocuments.js"
import { toYaml } from "../../src/cli/nexusctl/output/VmYaml.js"
import { Vm } from "../../src/domain/Vm.js"
import { record } from "../support/Records.js"

const read = (text: string) => Effect.runPromise(parseVms(text))

const text = FastCheck.oneof(FastCheck.string({ unit: "binary" }), FastCheck.constantFrom("no", "null", "1e3", "a: b"))
const config = FastCheck.option(FastCheck.oneof(text, FastCheck.json(), FastCheck.constant('{ "drives": [] }\n')), {
  nil: undefined
})
/** Records of any daemon, with fields that this version does not know. */
const vms = FastCheck.uniqueArray(
  FastCheck.record({ vm: Arbitrary.make(Vm), name: text, role: text, config }).map(({ config, name, role, vm }): Vm => {
    const { config_json: _, ...rest } = vm
    const newer = { weight: 1 }
    return { ...rest, ...newer, name, role, ...(config !== undefined && { config_json: config }) }
  }),
  { selector: ({ name }) => name, maxLength: 4 }
)

const expectUnchanged = async (text: string, vms: ReadonlyArray<Vm>) => {
  const { entries, problems } = await read(text)
  expect(problems).toEqual([])
  expect(entries.map(({ name }) => name)).toEqual(vms.map(({ name }) => name))
  for (const [index, entry] of entries.entries()) {
    const present = vms[index]
    expect(present && changedFields(entry, present)).toEqual({})
    expect(decodeEntry(entry, present)).toEqual(Either.right(undefined))
  }
}

describe("records of any daemon", () => {
  it("are unchanged by what nexusctl printed of them, as YAML and as JSON", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(vms, async (vms) => {
        await expectUnchanged(await Effect.runPromise(toYaml(vms)), vms)
        await expectUnchanged(JSON.stringify(vms), vms)
        await expectUnchanged(vms.map((vm) => `${JSON.stringify(vm)}\n`).join(""), vms)
        const documents = await Promise.all(vms.map((vm) => Effect.runPromise(toYaml(vm))))
        await expectUnchanged(documents.join("---\n"), vms)
      }),
      { numRuns: 50 }
    )
  })

  it("are unchanged by what an editor shows of them", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(vms, async (vms) => {
        await expectUnchanged(await Effect.runPromise(toYaml(vms.map(editableFields))), vms)
      }),
      { numRuns: 50 }
    )
  })
})

describe("parseVms", () => {
  it("reads documents, lists, and texts without any", async () => {
    const names = async (text: string) => (await read(text)).entries.map(({ name }) => name)
    expect(await names("name: a\n---\n- name: b\n- name: c\n---\n")).toEqual(["a", "b", "c"])
    expect(await names('[{"name":"a"},{"name":"b"}]')).toEqual(["a", "b"])
    expect(await names('{"name":"a"}\n{"name":"b"}\n')).toEqual(["a", "b"])
    for (const empty of ["", "\n", "# nothing\n", "---\n", "[]", "---\n[]\n", "null"]) {
      expect(await read(empty), empty).toEqual({ entries: [], problems: [] })
    }
  })

  it.each([
    ["7", ["document 1: expected the fields of a VM, got 7"]],
    ["- a\n", ['document 1: 0: expected the fields of a VM, got "a"']],
    ["- - name: a\n", ['document 1: 0: expected the fields of a VM, got [{"name":"a"}]']],
    ["role: work", ["document 1: name: is missing"]],
    ["name: 7", ["document 1: name: expected text, got 7"]],
    ["name: a\n---\n- name: a\n", ['document 2: 0.name: "a" is the name of two VMs']],
    [
      "name: a\n---\nname: [\n---\nname: b\nname: c\n",
      [/^document 2: .*line 4/, /^document 3: Map keys must be unique/]
    ],
    [`a: &a [x]\nb: [${"*a,".repeat(200)}]`, [/^document 1: /]],
    ["{", [/^document 1: /]]
  ])("names the problems of %j", async (text, problems) => {
    const found = (await read(text)).problems
    expect(found).toEqual(
      problems.map((problem) => (typeof problem === "string" ? problem : expect.stringMatching(problem)))
    )
  })
})

describe("an entry", () => {
  const present = record("web", { config_json: '{"drives": []}' })
  const entryOf = async (fields: object) => {
    const [entry] = (await read(JSON.stringify({ name: "web", ...fields }))).entries
    if (entry === undefined) throw new Error("no entry")
    return entry
  }

  it("has the defaults for what it leaves out", async () => {
    expect(changedFields(await entryOf({}), { ...present, vcpu_count: 2, role: "portal" })).toEqual({
      role: "work",
      vcpu_count: 1,
      config_json: undefined
    })
  })

  it("may hold the configuration as text or as what that holds", async () => {
    expect(changedFields(await entryOf({ config_json: { drives: [] } }), present)).toEqual({})
    expect(changedFields(await entryOf({ config_json: '{"drives":[]}' }), present)).toEqual({
      config_json: '{"drives":[]}'
    })
    expect(changedFields(await entryOf({ config_json: { "boot-source": {} } }), present)).toEqual({
      config_json: '{"boot-source":{}}'
    })
    expect(changedFields(await entryOf({ config_json: null }), present)).toEqual({ config_json: undefined })
  })

  it("is refused with each of its problems, also where nothing would change", async () => {
    const bad = await entryOf({ vcpu_count: 99, role: "x", state: "running", vcpus: 1 })
    expect(Either.getLeft(decodeEntry(bad, undefined))).toMatchObject({
      value: [
        "document 1: vcpus: is no field of a VM",
        expect.stringMatching(/^document 1: role: expected one of/),
        expect.stringMatching(/^document 1: vcpu_count: expected a whole number/)
      ]
    })
    const typo = await entryOf({ vcpus: 1, config_json: present.config_json })
    expect(decodeEntry(typo, present)).toEqual(Either.left(["document 1: vcpus: is no field of a VM"]))
  })
})
