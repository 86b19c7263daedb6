import * as Schema from "effect/Schema"
import { boundedInt, literals, preview, strict, wholeNumber, withDefault } from "./Schemas.js"
import { VmConfigJson, VmConfigJsonOrNull } from "./VmConfig.js"

/** What a VM is for: an entry point, a private office for an agent, or a service others share. */
export const VmRole = literals(["portal", "work", "service"], "What the VM is for")
export type VmRole = typeof VmRole.Type

/** Where a VM is in its life: docs/lifecycle.md has the transitions. */
export const VmState = literals(["created", "running", "stopped", "crashed", "failed"], "Where the VM is in its life")
export type VmState = typeof VmState.Type

const nameRule =
  "1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit (a DNS label), not shaped like a UUID"

/** The name of a new VM: an RFC 1123 DNS label in lower case that no UUID can be mistaken for. */
export const VmName = Schema.String.pipe(
  Schema.pattern(
    /^(?![0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    {
      message: ({ actual }) => `${preview(actual)} is not a VM name: ${nameRule}`,
      description: `The VM's name: ${nameRule}`,
      examples: ["my-vm"]
    }
  )
)
export type VmName = typeof VmName.Type

/**
 * A vsock context id that a VM can have. 0 is the hypervisor, 1 local, 2 the host and 4294967295 "any" (vsock(7)),
 * which leaves 3..4294967294.
 */
export const cidRange = { min: 3, max: 4294967294 } as const
/** The lowest and the highest of a range of CIDs. */
export type CidRange = { readonly min: number; readonly max: number }

/** Firecracker's `vcpu_count` (PUT /machine-config): 1 to 32. */
export const VcpuCount = boundedInt(1, 32, "Number of virtual CPUs")

/** Firecracker's `mem_size_mib` (PUT /machine-config), capped at 1 TiB. */
export const MemSizeMib = boundedInt(1, 1048576, "Memory, in MiB")

/** What a create call leaves out is filled in from here. */
export const createDefaults = { role: "work", vcpu_count: 1, mem_size_mib: 128 } as const

const text = (description: string) => Schema.String.annotations({ description })
const ifSet = <A, I>(schema: Schema.Schema<A, I>) => Schema.optionalWith(schema, { exact: true })

/** What a caller says of a VM to be created. `CreateVm.make({ name })` fills in the defaults. */
export const CreateVm = Schema.Struct({
  name: VmName,
  role: withDefault(VmRole, createDefaults.role),
  vcpu_count: withDefault(VcpuCount, createDefaults.vcpu_count),
  mem_size_mib: withDefault(MemSizeMib, createDefaults.mem_size_mib),
  config_json: ifSet(VmConfigJson)
}).annotations({ identifier: "CreateVm", description: "A VM to create", parseOptions: strict })
export type CreateVm = typeof CreateVm.Type

const { name: _, ...replacedFields } = CreateVm.fields

/** What a caller says of the VM of a given name. */
export const ReplaceVm = Schema.Struct(replacedFields).annotations({
  identifier: "ReplaceVm",
  description: "A VM as it shall be: what is left out takes its default",
  parseOptions: strict
})
export type ReplaceVm = typeof ReplaceVm.Type

/** A change of a record: what is left out stays. */
export const UpdateVm = Schema.Struct({
  name: ifSet(VmName),
  role: ifSet(VmRole),
  vcpu_count: ifSet(VcpuCount),
  mem_size_mib: ifSet(MemSizeMib),
  config_json: ifSet(
    VmConfigJsonOrNull.annotations({ description: "The configuration, as in CreateVm; null removes it" })
  )
}).annotations({ identifier: "UpdateVm", description: "The fields of a VM to change", parseOptions: strict })
export type UpdateVm = typeof UpdateVm.Type

/** The id of a VM record, which a store generates. Other daemons' records may have another form than a UUID. */
export const VmId = text("UUID v4, given at creation").pipe(Schema.brand("VmId"))
export type VmId = typeof VmId.Type

/** The vsock context id of a VM record, which a store assigns. Other daemons' records may exceed `cidRange`. */
export const Cid = wholeNumber(
  `vsock context id, unique on this inventory: ${cidRange.min} to ${cidRange.max} in records made here`
).pipe(Schema.brand("Cid"))
export type Cid = typeof Cid.Type

/**
 * A VM record: the table's row, the JSON and what a store returns are this one shape. A field that is not set is
 * absent. Times are whole seconds since the epoch, in UTC.
 *
 * Records are written within the bounds of `CreateVm` and read more widely: databases and daemons of the same plan,
 * which checked nothing, hold names, sizes, roles, states and CIDs that could not be created here.
 */
export const Vm = Schema.Struct({
  id: VmId,
  name: text("The VM's name, unique on this inventory"),
  role: text(`What the VM is for: ${VmRole.literals.join(", ")}, or a word of another daemon`),
  state: text(`Where the VM is in its life: ${VmState.literals.join(", ")}, or a word of another daemon`),
  cid: Cid,
  vcpu_count: wholeNumber("Number of virtual CPUs"),
  mem_size_mib: wholeNumber("Memory, in MiB"),
  created_at: wholeNumber("When the record was made, in seconds since the epoch"),
  updated_at: wholeNumber("When the record last changed, in seconds since the epoch"),
  started_at: ifSet(wholeNumber("When the VM last started, in seconds since the epoch")),
  stopped_at: ifSet(wholeNumber("When the VM last stopped, in seconds since the epoch")),
  pid: ifSet(wholeNumber("Process id of the VMM, the process that runs the VM")),
  socket_path: ifSet(text("Path of the VMM's control socket: Firecracker's API or QEMU's QMP")),
  uds_path: ifSet(text("Path of the vsock device's Unix socket on the host")),
  console_log_path: ifSet(text("Path of the guest's console log")),
  config_json: ifSet(text("The Firecracker configuration, as JSON text")),
  vmm: ifSet(text("The program that runs the VM: firecracker or qemu. Set while the VM runs")),
  host: ifSet(text("The host whose daemon started the VM last, on PostgreSQL"))
}).annotations({
  identifier: "Vm",
  // What a newer daemon adds is passed on.
  parseOptions: { onExcessProperty: "preserve" },
  description: "A VM record",
  examples: [
    {
      id: VmId.make("0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11"),
      name: "my-vm",
      role: "work",
      state: "created",
      cid: Cid.make(3),
      vcpu_count: 1,
      mem_size_mib: 128,
      created_at: 1771425006,
      updated_at: 1771425006
    }
  ]
})
export type Vm = typeof Vm.Type

/** The record of a VM that is created now; `now` is in seconds since the epoch. */
export const newVm = (
  { config_json, mem_size_mib, name, role, vcpu_count }: CreateVm,
  id: string,
  cid: number,
  now: number
): Vm => ({
  id: VmId.make(id),
  name,
  role,
  state: "created",
  cid: Cid.make(cid),
  vcpu_count,
  mem_size_mib,
  created_at: now,
  updated_at: now,
  ...(config_json !== undefined && { config_json })
})
