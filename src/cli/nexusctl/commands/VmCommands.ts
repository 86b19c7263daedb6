import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { boundedInt } from "../../../domain/Schemas.js"
import { CreateVm, cidRange, createDefaults, VcpuCount, VmName, VmRole, VmState } from "../../../domain/Vm.js"
import { matchesFilter, NamePrefix, type VmFilter } from "../../../domain/VmQuery.js"
import type { NexusClient } from "../../../http/Client.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { printLines } from "../../../runtime/StandardStreams.js"
import { schemaArgument, schemaOption } from "../../runner/SchemaOption.js"
import { CommandFailed, tooOld, usageError } from "../daemon/CommandFailure.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { startSilenceSeconds } from "../daemon/SilenceLimits.js"
import { vmDetails } from "../output/Output.js"
import { printVms, vmOutput, vmPrinter } from "../output/VmOutput.js"
import { memoryOption } from "./MemoryOption.js"
import { forEachVm, namesOrIds } from "./SeveralVms.js"
import { configJson, configOptions, firstConfigOption } from "./VmConfigOptions.js"
import { watchVms } from "./VmListWatch.js"
import { pidText } from "./VmRunCommands.js"

const roleWords = VmRole.literals.join(" | ")
const stateWords = VmState.literals.join(" | ")

/** Creates a VM, or finds the one that has its name. Needs no route that daemons of the step 4 plan lack. */
const createUnlessExists = (client: NexusClient["Type"], payload: CreateVm) =>
  client.vms.create({ payload }).pipe(
    Effect.map((vm) => ({ vm, isNew: true })),
    Effect.catchTag("Conflict", (conflict) =>
      client.vms.get({ path: { nameOrId: payload.name } }).pipe(
        Effect.catchTag("NotFound", () => conflict),
        // An id of another program's record may be that name.
        Effect.filterOrFail(
          ({ name }) => name === payload.name,
          () => conflict
        ),
        Effect.map((vm) => ({ vm, isNew: false }))
      )
    )
  )

export const createCommand = Command.make(
  "create",
  {
    name: schemaArgument("NAME", VmName),
    role: schemaOption("role", roleWords, VmRole, createDefaults.role),
    vcpu_count: schemaOption("vcpu", "N", VcpuCount, createDefaults.vcpu_count),
    mem_size_mib: memoryOption(createDefaults.mem_size_mib),
    config: configOptions,
    isExistingTaken: Options.boolean("if-not-exists").pipe(
      Options.withDescription("Leave a VM of that name as it is, and succeed")
    ),
    start: Options.boolean("start").pipe(Options.withDescription("Start the VM; if that fails its record stays")),
    output: vmOutput
  },
  ({ config, isExistingTaken, output, start, ...params }) =>
    Effect.gen(function* () {
      const { call } = yield* DaemonClient
      const { name } = params
      const config_json = yield* configJson(config)
      const payload = CreateVm.make({ ...params, ...(config_json !== undefined && { config_json }) })
      const { isNew, vm } = yield* call({ action: `cannot create VM "${name}"` }, (client) =>
        isExistingTaken
          ? createUnlessExists(client, payload)
          : Effect.map(client.vms.create({ payload }), (vm) => ({ vm, isNew: true }))
      )
      if (isNew && vm.config_json !== config_json) {
        return yield* tooOld(
          `vm create ${firstConfigOption(config)}`,
          "It created the VM without its configuration.",
          `Delete it: nexusctl vm delete ${name} --yes`
        )
      }
      const print = vmPrinter(output)
      const created = isNew
        ? `Created VM "${vm.name}" (state: ${vm.state}, CID: ${vm.cid})`
        : `VM "${vm.name}" already exists (state: ${vm.state}, CID: ${vm.cid})`
      const hint = ["", `  Inspect it: nexusctl vm inspect ${vm.name}`]
      if (!start || (!isNew && vm.state === "running")) return yield* print(vm, () => [created, ...hint])
      if (output.format === "text") yield* printLines([created])
      const started = yield* call(
        { action: `cannot start VM "${name}"`, vm: name, newCommand: "vm create --start" },
        (client) => client.vms.start({ path: { nameOrId: vm.id } }),
        { defaultSilenceSeconds: startSilenceSeconds }
      ).pipe(Effect.tapError(() => (output.format === "text" ? printLines(hint) : print(vm, () => []))))
      yield* print(started, () => [`Started VM "${name}"${pidText(started)}`, ...hint])
    })
).pipe(Command.withDescription("Create a VM record"))

/** There are no more records than CIDs. */
const Limit = boundedInt(1, cidRange.max - cidRange.min + 1, "The most records to show, the newest ones")

/** The most records that the API sends as one page. */
const pageLimit = 1000

/** All records that match. A daemon that does not know `name_prefix` sends others too. */
const all = (client: NexusClient["Type"], filter: VmFilter) =>
  Effect.map(client.vms.list({ urlParams: filter }), (vms) => vms.filter(matchesFilter(filter)))

/** The `limit` newest records, page by page. A daemon that does not know `limit` sends all of them as one page. */
const newest = (client: NexusClient["Type"], filter: VmFilter, limit: number) =>
  client
    .listStream(filter, Math.min(limit, pageLimit))
    .pipe(Stream.take(limit), Stream.runCollect, Effect.map(Chunk.toReadonlyArray))

export const listCommand = Command.make(
  "list",
  {
    role: Options.optional(schemaOption("role", roleWords, VmRole)),
    state: Options.optional(schemaOption("state", stateWords, VmState)),
    limit: Options.optional(schemaOption("limit", "N", Limit)),
    prefix: Options.optional(schemaOption("prefix", "P", NamePrefix)),
    isWatched: Options.boolean("watch").pipe(
      Options.withAlias("w"),
      Options.withDescription("Print the records, and then each change until interrupted")
    ),
    output: vmOutput
  },
  ({ isWatched, limit, output, prefix, role, state }) =>
    Effect.gen(function* () {
      const filter = {
        ...(Option.isSome(role) ? { role: role.value } : {}),
        ...(Option.isSome(state) ? { state: state.value } : {}),
        ...(Option.isSome(prefix) ? { name_prefix: prefix.value } : {})
      }
      if (isWatched) {
        return Option.isSome(limit)
          ? yield* usageError("--limit and --watch exclude each other", "See: nexusctl vm list --help")
          : yield* watchVms(filter, output)
      }
      const { call } = yield* DaemonClient
      const vms = yield* call({ action: "cannot list VMs" }, (client) =>
        Option.isSome(limit) ? newest(client, filter, limit.value) : all(client, filter)
      )
      yield* printVms(output, vms)
    })
).pipe(Command.withDescription("List VM records, newest first"))

export const inspectCommand = Command.make("inspect", { vms: namesOrIds, output: vmOutput }, ({ output, vms }) =>
  Effect.gen(function* () {
    const { call } = yield* DaemonClient
    const inspect = (vm: string) =>
      call({ action: `cannot inspect VM "${vm}"`, vm }, (client) => client.vms.get({ path: { nameOrId: vm } }))
    const now = Math.floor(Date.now() / 1000)
    const print = vmPrinter(output)
    yield* forEachVm(vms, inspect, (record) =>
      print(record, (isFirst) => [...(isFirst ? [] : [""]), ...vmDetails(record, now)])
    )
  })
).pipe(Command.withDescription("Show VM records"))

export const deleteCommand = Command.make(
  "delete",
  {
    vms: namesOrIds,
    yes: Options.boolean("yes").pipe(
      Options.withAlias("y"),
      Options.withDescription("Delete without being asked: needed, since a record can't be brought back")
    )
  },
  ({ vms, yes }) =>
    Effect.gen(function* () {
      if (!yes) {
        const words = vms.some((vm) => vm.startsWith("-")) ? ["--yes", "--", ...vms] : [...vms, "--yes"]
        return yield* new CommandFailed({
          lines: [
            "Error: refusing to delete VM without confirmation",
            `  Run with --yes to skip confirmation: nexusctl vm delete ${words.join(" ")}`
          ],
          exitCode: ExitCode.failure
        })
      }
      const { call } = yield* DaemonClient
      const remove = (vm: string) =>
        call({ action: `cannot delete VM "${vm}"`, vm }, (client) => client.vms.delete({ path: { nameOrId: vm } }))
      yield* forEachVm(vms, remove, (_, index) => printLines([`Deleted VM "${vms[index]}"`]))
    })
).pipe(Command.withDescription("Delete VM records, with their logs"))
