import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import type { HttpClientResponse } from "@effect/platform/HttpClientResponse"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { boundedInt } from "../../domain/Schemas.js"
import {
  CreateVm,
  cidRange,
  createDefaults,
  MemSizeMib,
  VcpuCount,
  type Vm,
  VmName,
  VmRole,
  VmState
} from "../../domain/Vm.js"
import type { VmCursor, VmFilter } from "../../domain/VmQuery.js"
import { NexusClient } from "../../http/Client.js"
import { ExitCode } from "../../runtime/ExitCode.js"
import { printLines } from "../../runtime/StandardStreams.js"
import { schemaArgument, schemaOption } from "../runner/SchemaOption.js"
import { CommandFailed } from "./CommandFailure.js"
import { DaemonClient } from "./DaemonClient.js"
import { outputOption, print, vmDetails, vmTable } from "./Output.js"

const roleWords = VmRole.literals.join(" | ")
const stateWords = VmState.literals.join(" | ")

const nameOrId = schemaArgument("NAME|ID", Schema.NonEmptyString.annotations({ description: "The VM's name or id" }))

export const createCommand = Command.make(
  "create",
  {
    name: schemaArgument("NAME", VmName),
    role: schemaOption("role", roleWords, VmRole, createDefaults.role),
    vcpu_count: schemaOption("vcpu", "N", VcpuCount, createDefaults.vcpu_count),
    mem_size_mib: schemaOption("mem", "MIB", MemSizeMib, createDefaults.mem_size_mib),
    output: outputOption
  },
  ({ output, ...params }) =>
    Effect.gen(function* () {
      const { call } = yield* DaemonClient
      const vm = yield* call({ action: `cannot create VM "${params.name}"` }, (client) =>
        client.vms.create({ payload: CreateVm.make(params) })
      )
      yield* print(output, vm, ({ cid, name, state }) => [
        `Created VM "${name}" (state: ${state}, CID: ${cid})`,
        "",
        `  Inspect it: nexusctl vm inspect ${name}`
      ])
    })
).pipe(Command.withDescription("Create a VM record"))

/** There are no more records than CIDs. */
const Limit = boundedInt(1, cidRange.max - cidRange.min + 1, "The most records to show, the newest ones")

/** The most records that the API sends as one page. */
const pageLimit = 1000

/** Fails when a daemon's `Link` header holds a cursor of another kind. */
const nextPage = (response: HttpClientResponse) =>
  Effect.try({ try: () => NexusClient.nextPage(response), catch: (error) => error }).pipe(
    Effect.catchAll((error) => (ParseResult.isParseError(error) ? Effect.fail(error) : Effect.die(error)))
  )

/** The `limit` newest records, page by page. A daemon that does not know `limit` sends all of them as one page. */
const newest = (client: NexusClient["Type"], filter: VmFilter, limit: number) =>
  Effect.gen(function* () {
    const found: Array<Vm> = []
    let cursor: VmCursor | undefined
    do {
      const [page, response] = yield* client.vms.list({
        urlParams: { ...filter, limit: Math.min(limit - found.length, pageLimit), ...(cursor && { cursor }) },
        withResponse: true
      })
      for (const vm of page) found.push(vm)
      cursor = page.length === 0 ? undefined : yield* nextPage(response)
    } while (cursor !== undefined && found.length < limit)
    return found.slice(0, limit)
  })

export const listCommand = Command.make(
  "list",
  {
    role: Options.optional(schemaOption("role", roleWords, VmRole)),
    state: Options.optional(schemaOption("state", stateWords, VmState)),
    limit: Options.optional(schemaOption("limit", "N", Limit)),
    output: outputOption
  },
  ({ limit, output, role, state }) =>
    Effect.gen(function* () {
      const { call } = yield* DaemonClient
      const filter = {
        ...(Option.isSome(role) ? { role: role.value } : {}),
        ...(Option.isSome(state) ? { state: state.value } : {})
      }
      const vms = yield* call({ action: "cannot list VMs" }, (client) =>
        Option.isSome(limit) ? newest(client, filter, limit.value) : client.vms.list({ urlParams: filter })
      )
      yield* print(output, vms, () => (vms.length === 0 ? ["No VMs found."] : vmTable(vms)))
    })
).pipe(Command.withDescription("List VM records, newest first"))

export const inspectCommand = Command.make("inspect", { vm: nameOrId, output: outputOption }, ({ output, vm }) =>
  Effect.gen(function* () {
    const { call } = yield* DaemonClient
    const found = yield* call({ action: `cannot inspect VM "${vm}"`, vm }, (client) =>
      client.vms.get({ path: { nameOrId: vm } })
    )
    yield* print(output, found, vmDetails)
  })
).pipe(Command.withDescription("Show one VM record"))

export const deleteCommand = Command.make(
  "delete",
  {
    vm: nameOrId,
    yes: Options.boolean("yes").pipe(
      Options.withAlias("y"),
      Options.withDescription("Delete without being asked: needed, since a record can't be brought back")
    )
  },
  ({ vm, yes }) =>
    Effect.gen(function* () {
      if (!yes) {
        const words = vm.startsWith("-") ? `--yes -- ${vm}` : `${vm} --yes`
        return yield* new CommandFailed({
          lines: [
            "Error: refusing to delete VM without confirmation",
            `  Run with --yes to skip confirmation: nexusctl vm delete ${words}`
          ],
          exitCode: ExitCode.failure
        })
      }
      const { call } = yield* DaemonClient
      yield* call({ action: `cannot delete VM "${vm}"`, vm }, (client) => client.vms.delete({ path: { nameOrId: vm } }))
      yield* printLines([`Deleted VM "${vm}"`])
    })
).pipe(Command.withDescription("Delete a VM record"))
