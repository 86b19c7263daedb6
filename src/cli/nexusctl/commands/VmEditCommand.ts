import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { UpdateVm, Vm } from "../../../domain/Vm.js"
import { NexusClient } from "../../../http/Client.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { printLines } from "../../../runtime/StandardStreams.js"
import { systemErrorMessage } from "../../../runtime/SystemError.js"
import { CommandFailed } from "../daemon/CommandFailure.js"
import { DaemonClient } from "../daemon/DaemonClient.js"
import { toYaml } from "../output/VmYaml.js"
import { nameOrId } from "./SeveralVms.js"
import { decodeChange, editableFields, parseVms } from "./VmDocuments.js"

const comment = `# The fields of a VM that can be changed. What is left out takes its default.
# Save and leave the editor to send them. An empty file, or no change, sends nothing.
`

const editor = (): string => process.env["VISUAL"] || process.env["EDITOR"] || "vi"

const failed = (exitCode: ExitCode, ...lines: ReadonlyArray<string>) =>
  new CommandFailed({ lines: lines.map((line, index) => (index === 0 ? `Error: ${line}` : `  ${line}`)), exitCode })

/** Ctrl-C is for the editor: the terminal sends it to both. */
const ignoringInterrupts = <A, E>(use: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const listeners = process.listeners("SIGINT")
      process.removeAllListeners("SIGINT").on("SIGINT", () => {})
      return listeners
    }),
    () => use,
    (listeners) =>
      Effect.sync(() => {
        process.removeAllListeners("SIGINT")
        for (const listener of listeners) process.on("SIGINT", listener)
      })
  )

/** Runs the editor on a file, as Git does: its command is a shell's, and may have arguments. */
const runEditor = (file: string): Effect.Effect<void, CommandFailed> =>
  Effect.async<void, CommandFailed>((resume) => {
    const fail = (reason: string) => resume(failed(ExitCode.failure, `the editor ${editor()} failed: ${reason}`))
    const child = spawn("/bin/sh", ["-c", `trap : INT; ${editor()} "$@"`, editor(), file], { stdio: "inherit" })
    child.once("error", (error) => fail(systemErrorMessage(error)))
    child.once("exit", (code, signal) => {
      if (code === 0) resume(Effect.void)
      else fail(signal ?? `exit code ${code}`)
    })
  }).pipe(Effect.uninterruptible, ignoringInterrupts)

/** The change that a text makes of a record; `undefined` if it makes none. */
const changeIn = (text: string, vm: Vm): Effect.Effect<UpdateVm | undefined, CommandFailed> =>
  Effect.gen(function* () {
    const { entries, problems } = yield* parseVms(text)
    const [entry, ...others] = entries
    const invalid = (problems: ReadonlyArray<string>) =>
      failed(ExitCode.usage, `cannot update VM "${vm.name}"`, ...problems)
    if (problems.length > 0) return yield* invalid(problems)
    if (others.length > 0) return yield* invalid(["expected one VM, found several"])
    if (entry === undefined) return undefined
    const change = yield* Either.mapLeft(decodeChange(entry, vm), invalid)
    return Object.keys(change).length === 0 ? undefined : change
  })

const writeEditedFile = (text: string) =>
  Effect.try({
    try: () => {
      const file = Path.join(mkdtempSync(Path.join(tmpdir(), "nexusctl-edit-")), "vm.yaml")
      writeFileSync(file, text, { mode: 0o600 })
      return file
    },
    catch: (error) => failed(ExitCode.failure, `cannot write to ${tmpdir()}: ${systemErrorMessage(error)}`)
  })

/** Removes the file, but keeps it if `use` fails. The failure names it. */
const withEditedFile = <A, R>(text: string, use: (file: string) => Effect.Effect<A, CommandFailed, R>) =>
  Effect.flatMap(writeEditedFile(text), (file) =>
    use(file).pipe(
      Effect.tap(() => Effect.sync(() => rmSync(Path.dirname(file), { recursive: true, force: true }))),
      Effect.mapError(({ daemon, exitCode, lines, requestId }) => {
        const kept = [...lines, `  The text is kept in ${file}`]
        return new CommandFailed({
          lines: kept,
          exitCode,
          ...(daemon !== undefined && { daemon }),
          ...(requestId !== undefined && { requestId })
        })
      })
    )
  )

export const editCommand = Command.make("edit", { vm: nameOrId }, ({ vm: nameOrId }) =>
  Effect.gen(function* () {
    const { call } = yield* DaemonClient
    const attempt = { action: `cannot update VM "${nameOrId}"`, vm: nameOrId }
    const [vm, response] = yield* call(attempt, (client) => client.vms.get({ path: { nameOrId }, withResponse: true }))
    const before = comment + (yield* toYaml(editableFields(vm)))
    const outcome = yield* withEditedFile(before, (file) =>
      Effect.gen(function* () {
        yield* runEditor(file)
        const payload = yield* changeIn(readFileSync(file, "utf8"), vm)
        if (payload === undefined) return "unchanged"
        const tag = NexusClient.entityTag(response)
        yield* call({ ...attempt, newCommand: "vm edit" }, (client) =>
          client.vms.update({
            path: { nameOrId: vm.id },
            headers: tag === undefined ? {} : { "if-match": tag },
            payload
          })
        )
        return "updated"
      })
    )
    yield* printLines([`VM "${nameOrId}" ${outcome}`])
  })
).pipe(Command.withDescription("Change a VM record in an editor: VISUAL, else EDITOR, else vi"))
