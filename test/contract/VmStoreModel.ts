import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { PreconditionFailed } from "../../src/domain/Errors.js"
import { type CreateVm, type UpdateVm, type Vm, VmRole, VmState } from "../../src/domain/Vm.js"
import type { VmFilter } from "../../src/domain/VmQuery.js"
import type { Precondition } from "../../src/domain/VmTransition.js"

/** One of a few names, and whether an operation uses the name or the id. */
interface Target {
  readonly name: string
  readonly by: "name" | "id"
}

/** What a precondition requires: a record with that role, or none. */
type Condition = VmRole | "none" | undefined

export type Operation =
  | { readonly _tag: "tick"; readonly seconds: number }
  | { readonly _tag: "create"; readonly params: CreateVm }
  | ({ readonly _tag: "get" } & Target)
  | ({ readonly _tag: "update"; readonly wanted: UpdateVm; readonly condition: Condition } & Target)
  | { readonly _tag: "replace"; readonly params: CreateVm; readonly condition: Condition }
  | ({ readonly _tag: "delete"; readonly condition: Condition } & Target)
  | { readonly _tag: "list"; readonly filter: VmFilter; readonly pages: number | undefined }

const { constant, constantFrom, integer, record } = FastCheck
const name = constantFrom("a", "b", "c", "d", "e", "f")
const role = constantFrom(...VmRole.literals)
const state = constantFrom(...VmState.literals)
const by = constantFrom<Array<Target["by"]>>("name", "id")

const condition = FastCheck.option(constantFrom<Array<VmRole | "none">>(...VmRole.literals, "none"), { nil: undefined })

const unmet = new PreconditionFailed({ message: "unmet" })
const isMet = (condition: Condition, vm: { readonly role: string } | undefined) =>
  condition === undefined || condition === (vm?.role ?? "none")
export const preconditionOf = (condition: Condition): Precondition | undefined =>
  condition && ((vm) => (isMet(condition, vm) ? Either.void : Either.left(unmet)))

const arbitraries = {
  tick: record({ _tag: constant("tick" as const), seconds: integer({ min: -3, max: 9 }) }),
  create: record({
    _tag: constant("create" as const),
    params: record({
      name,
      role,
      vcpu_count: integer({ min: 1, max: 32 }),
      mem_size_mib: integer({ min: 1, max: 9999 })
    })
  }),
  get: record({ _tag: constant("get" as const), name, by }),
  update: record({
    _tag: constant("update" as const),
    name,
    by,
    condition,
    wanted: record(
      {
        name,
        role,
        vcpu_count: integer({ min: 1, max: 3 }),
        mem_size_mib: integer({ min: 1, max: 3 }),
        config_json: constantFrom("{}", "{ }", null)
      },
      { requiredKeys: [] }
    )
  }),
  replace: record({
    _tag: constant("replace" as const),
    condition,
    params: record(
      {
        name,
        role,
        vcpu_count: integer({ min: 1, max: 3 }),
        mem_size_mib: integer({ min: 1, max: 3 }),
        config_json: constantFrom("{}", "{ }")
      },
      { requiredKeys: ["name", "role", "vcpu_count", "mem_size_mib"] }
    )
  }),
  delete: record({ _tag: constant("delete" as const), name, by, condition }),
  list: record({
    _tag: constant("list" as const),
    filter: record({ role, state, name_prefix: constantFrom("a", "b", "ab") }, { requiredKeys: [] }),
    pages: FastCheck.option(integer({ min: 1, max: 4 }), { nil: undefined })
  })
} as const

/** Operations on few names, so that they collide. Time goes forward and back. */
export const operations: FastCheck.Arbitrary<Operation> = FastCheck.oneof(
  { weight: 1, arbitrary: arbitraries.tick },
  { weight: 5, arbitrary: arbitraries.create },
  { weight: 2, arbitrary: arbitraries.get },
  { weight: 3, arbitrary: arbitraries.update },
  { weight: 3, arbitrary: arbitraries.replace },
  { weight: 3, arbitrary: arbitraries.delete },
  { weight: 2, arbitrary: arbitraries.list }
)

/** The simplest implementation of the contract: an array. */
export class ModelStore {
  /** Fewer CIDs than names, so that none may be free. */
  static readonly cids = { min: 3, max: 7 }
  now = 1000
  private records: Array<typeof Vm.Encoded> = []
  private lastId = new Map<string, string>()

  learnId(name: string, id: string) {
    this.lastId.set(name, id)
    this.records = this.records.map((vm) => (vm.name === name ? { ...vm, id } : vm))
  }

  /** The name or id to look up. A name that was never created has an unknown id. */
  target({ by, name }: Target): string {
    return by === "name" ? name : (this.lastId.get(name) ?? "00000000-0000-4000-8000-000000000000")
  }

  private find(target: Target) {
    const wanted = this.target(target)
    return this.records.find((vm) => vm.id === wanted || vm.name === wanted)
  }

  forget(target: Target) {
    const found = this.find(target)
    this.records = this.records.filter((vm) => vm !== found)
  }

  /** Returns the CID of the new record, which has no id until it is learnt. */
  private create(params: CreateVm): number | string {
    const cid = this.freeCid()
    if (cid === undefined) return "no free CID"
    this.records.push({ ...params, id: "", state: "created", cid, created_at: this.now, updated_at: this.now })
    return cid
  }

  private change(found: typeof Vm.Encoded, { config_json, ...others }: UpdateVm): typeof Vm.Encoded | string {
    const { config_json: before, ...rest } = found
    const after = config_json === undefined ? before : (config_json ?? undefined)
    const changed = { ...rest, ...others, ...(after !== undefined && { config_json: after }) }
    if (this.records.some((vm) => vm !== found && vm.name === changed.name)) {
      return `VM name '${changed.name}' already exists`
    }
    const isSame =
      Object.entries(others).every(([field, value]) => Reflect.get(found, field) === value) && after === before
    const result = isSame ? found : { ...changed, updated_at: this.now }
    this.records = this.records.map((vm) => (vm === found ? result : vm))
    return result
  }

  private freeCid(): number | undefined {
    const { max, min } = ModelStore.cids
    const used = this.records.map((vm) => vm.cid)
    const next = Math.max(min - 1, ...used) + 1
    if (next <= max) return next
    for (let cid = min; cid <= max; cid++) if (!used.includes(cid)) return cid
    return undefined
  }

  /** The expected result. `delete` changes nothing: `forget` removes the record. */
  apply(operation: Operation): unknown {
    switch (operation._tag) {
      case "tick":
        this.now = Math.max(0, this.now + operation.seconds)
        return undefined
      case "create": {
        const { params } = operation
        if (this.records.some((vm) => vm.name === params.name)) return `VM name '${params.name}' already exists`
        return this.create(params)
      }
      case "replace": {
        const { condition, params } = operation
        const found = this.records.find((vm) => vm.name === params.name)
        if (!isMet(condition, found)) return unmet.message
        return found === undefined ? this.create(params) : this.change(found, { config_json: null, ...params })
      }
      case "update": {
        const found = this.find(operation)
        if (found === undefined) return `VM '${this.target(operation)}' not found`
        return isMet(operation.condition, found) ? this.change(found, operation.wanted) : unmet.message
      }
      case "get":
        return this.find(operation) ?? `VM '${this.target(operation)}' not found`
      case "delete": {
        const found = this.find(operation)
        if (found === undefined) return `VM '${this.target(operation)}' not found`
        return isMet(operation.condition, found) ? "deleted" : unmet.message
      }
      case "list": {
        const { name_prefix = "", role, state } = operation.filter
        return this.records
          .map((vm, index) => ({ vm, index }))
          .filter(({ vm }) => vm.name.startsWith(name_prefix))
          .filter(({ vm }) => (role === undefined || vm.role === role) && (state === undefined || vm.state === state))
          .sort((a, b) => b.vm.created_at - a.vm.created_at || b.index - a.index)
          .map(({ vm }) => vm)
      }
    }
  }
}
