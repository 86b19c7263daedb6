import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { Conflict } from "../../../domain/Errors.js"
import { type Vm, VmRole } from "../../../domain/Vm.js"
import { NexusClient } from "../../../http/Client.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { printLines } from "../../../runtime/StandardStreams.js"
import { terminalProgress } from "../../runner/Progress.js"
import { schemaOption } from "../../runner/SchemaOption.js"
import { CommandFailed, usageError } from "../daemon/CommandFailure.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { inputName, readInput } from "./InputText.js"
import { forEachVm } from "./SeveralVms.js"
import { changedFields, decodeEntry, parseVms, type VmEntry } from "./VmDocuments.js"

const seeHelp = "See: nexusctl apply --help"

/** Makes one VM what its entry says, and returns what was done. */
const applyEntry = (entry: VmEntry, listed: Vm | undefined, isDryRun: boolean) =>
  Effect.gen(function* () {
    const { call } = yield* DaemonClient
    const { name } = entry
    const action = `cannot apply VM "${name}"`
    const unchanged = (present: Vm | undefined) =>
      present !== undefined && Object.keys(changedFields(entry, present)).length === 0
    if (unchanged(listed)) return "unchanged"
    if (isDryRun) {
      const isFixed = listed?.state === "running" && Object.keys(changedFields(entry, listed)).some((f) => f !== "role")
      if (isFixed) yield* call({ action }, () => Conflict.running("update", name))
      return listed === undefined ? "created" : "updated"
    }
    const [present, response] =
      listed === undefined
        ? []
        : yield* call({ action }, (client) =>
            client.vms
              .get({ path: { nameOrId: name }, withResponse: true })
              .pipe(Effect.catchTag("NotFound", () => Effect.succeed([])))
          )
    if (unchanged(present)) return "unchanged"
    const wanted = yield* Either.mapLeft(decodeEntry(entry, present), (problems) => usageError(action, ...problems))
    if (wanted === undefined) return "unchanged"
    const { name: nameOrId, ...payload } = wanted
    const tag = response && NexusClient.entityTag(response)
    const headers = present === undefined ? { "if-none-match": "*" } : tag === undefined ? {} : { "if-match": tag }
    yield* call({ action, newCommand: "apply" }, (client) =>
      client.vms.replace({ path: { nameOrId }, headers, payload })
    )
    return present === undefined ? "created" : "updated"
  })

/** Shows on a terminal how many of `total` steps were taken. */
const withProgress = <A, E, R>(
  activity: string,
  total: number,
  use: (step: Effect.Effect<void>) => Effect.Effect<A, E, R>
) =>
  Effect.scoped(
    Effect.flatMap(terminalProgress, (progress) => {
      let done = 0
      return use(Effect.suspend(() => progress(activity, ++done, total)))
    })
  )

const deleteVm = ({ id, name, state }: Vm, isDryRun: boolean) =>
  Effect.flatMap(DaemonClient, ({ call }) => {
    const attempt = { action: `cannot delete VM "${name}"`, vm: name }
    if (!isDryRun) return call(attempt, (client) => client.vms.delete({ path: { nameOrId: id } }))
    return state === "running" ? call(attempt, () => Conflict.running("delete", name)) : Effect.void
  })

export const applyCommand = Command.make(
  "apply",
  {
    file: Options.text("file").pipe(
      Options.withAlias("f"),
      Options.withPseudoName("FILE|-"),
      Options.withDescription("VMs as YAML or JSON, one or many documents, or a list; - reads stdin")
    ),
    isDryRun: Options.boolean("dry-run").pipe(Options.withDescription("Show what would be done, and change nothing")),
    isPruning: Options.boolean("prune").pipe(
      Options.withDescription("Delete the VMs that the file lacks, after all others are as it says")
    ),
    role: Options.optional(
      schemaOption("role", VmRole.literals.join(" | "), VmRole).pipe(
        Options.withDescription("With --prune: delete only VMs of this role (default: every role)")
      )
    ),
    yes: Options.boolean("yes").pipe(Options.withAlias("y"), Options.withDescription("Needed with --prune"))
  },
  ({ file, isDryRun, isPruning, role, yes }) =>
    Effect.gen(function* () {
      if (Option.isSome(role) && !isPruning) return yield* usageError("--role needs --prune", seeHelp)
      if (isPruning && !yes && !isDryRun) {
        return yield* new CommandFailed({
          lines: [
            "Error: refusing to delete VMs without confirmation",
            `  Run with --yes to skip confirmation: nexusctl apply -f ${file} --prune --yes`
          ],
          exitCode: ExitCode.failure
        })
      }
      const { entries, problems } = yield* Effect.flatMap(readInput(file), parseVms)
      if (isPruning && entries.length === 0 && problems.length === 0) {
        return yield* usageError(`${inputName(file)} holds no VM: refusing to delete every VM`, seeHelp)
      }
      const { call } = yield* DaemonClient
      const listed =
        entries.length === 0
          ? []
          : yield* call({ action: "cannot list VMs" }, (client) => client.vms.list({ urlParams: {} }))
      const present = new Map(listed.map((vm) => [vm.name, vm]))
      const invalid = entries.flatMap((entry) =>
        Either.match(decodeEntry(entry, present.get(entry.name)), {
          onLeft: (problems) => problems,
          onRight: () => []
        })
      )
      if (problems.length + invalid.length > 0) {
        return yield* usageError(`cannot apply ${inputName(file)}`, ...problems, ...invalid)
      }
      const report = (name: string, outcome: string) =>
        printLines([`VM "${name}" ${outcome}${isDryRun ? " (dry run)" : ""}`])
      yield* withProgress("Applied", entries.length, (step) =>
        forEachVm(
          entries,
          (entry) => Effect.ensuring(applyEntry(entry, present.get(entry.name), isDryRun), step),
          (outcome, index) => report(entries[index]?.name ?? "", outcome)
        )
      )
      if (!isPruning) return
      const kept = new Set(entries.map(({ name }) => name))
      const doomed = listed.filter(
        (vm) => !kept.has(vm.name) && Option.match(role, { onNone: () => true, onSome: (role) => role === vm.role })
      )
      yield* withProgress("Deleted", doomed.length, (step) =>
        forEachVm(
          doomed,
          (vm) => Effect.ensuring(deleteVm(vm, isDryRun), step),
          (_, index) => report(doomed[index]?.name ?? "", "deleted")
        )
      )
    })
).pipe(
  Command.withDescription("Make VMs what a file says: create them, change them, and leave those that are as it says")
)
