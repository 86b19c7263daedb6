import { closeSync, lstatSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Conflict, type NotFound, StoreUnavailable } from "../../domain/Errors.js"
import type { VmRun } from "../../domain/VmRun.js"
import { type LogReader, openReader, streamOf } from "./ConsoleLog.js"
import { type FileRefused, withFile } from "./FileRefused.js"
import { ownerOf } from "./Host.js"
import type { LifecycleContext } from "./LifecycleContext.js"
import { filesOf, isFolderOf, openForReading } from "./VmFolder.js"

/** The console log of a VM that ran on this host; undefined if there is none. */
const consoleLogOf = ({ databaseId, own }: LifecycleContext, id: string) =>
  Effect.gen(function* () {
    const files = Either.getOrUndefined(filesOf(own.stateFolder, id))
    if (files === undefined || !(yield* isFolderOf(files.folder, databaseId))) return undefined
    return yield* withFile(files.consoleLog, () => {
      if (lstatSync(files.consoleLog, { throwIfNoEntry: false }) === undefined) return undefined
      closeSync(openForReading(files.consoleLog))
      return files.consoleLog
    })
  })

/** How often the store is asked whether a VM that another daemon watches still runs. */
const endPoll = Schedule.spaced("500 millis")

/** Finishes a reader once the run is over. */
const finishAtEnd = ({ store, supervisor }: LifecycleContext, id: string, run: VmRun, reader: LogReader) => {
  // The supervisor finishes its readers.
  if (supervisor.find(id)?.runId === run.run_id) return Effect.void
  return store.getWithRun(id).pipe(
    Effect.map((current) => current.run?.run_id !== run.run_id),
    Effect.catchTags({ NotFound: () => Effect.succeed(true), StoreUnavailable: () => Effect.succeed(false) }),
    Effect.repeat({ schedule: endPoll, until: (isOver) => isOver }),
    Effect.zipRight(Effect.sync(reader.finish)),
    Effect.forkScoped
  )
}

/** The last `tail` lines of a VM's console log, and with `follow` what its guest prints until the VM ends. */
export const logsOf = (
  context: LifecycleContext,
  nameOrId: string,
  { follow, tail }: { readonly follow: boolean; readonly tail: number }
): Effect.Effect<Stream.Stream<Uint8Array, StoreUnavailable>, NotFound | Conflict | StoreUnavailable> =>
  Effect.gen(function* () {
    const { host, store, supervisor } = context
    const { run, vm } = yield* store.getWithRun(nameOrId)
    const ranOn = run?.host ?? vm.host ?? host.name
    if (ranOn !== host.name) return yield* Conflict.onHost(vm.name, ranOn)
    const toMessage = ({ message }: FileRefused) => ({ message: `cannot read the log of VM '${vm.name}': ${message}` })
    const consoleLog = yield* Effect.mapError(consoleLogOf(context, vm.id), (error) => new Conflict(toMessage(error)))
    if (consoleLog === undefined) return Stream.empty
    return Stream.unwrapScoped(
      Effect.gen(function* () {
        const isNotified = run === undefined || ownerOf(run, host) === "this daemon"
        const reader = yield* Effect.acquireRelease(
          withFile(consoleLog, () => openReader(consoleLog, tail, isNotified)),
          ({ close }) => Effect.sync(close)
        )
        yield* supervisor.addReader(vm.id, reader)
        if (follow && run !== undefined) yield* finishAtEnd(context, vm.id, run, reader)
        else reader.finish()
        return streamOf(consoleLog, reader)
      })
    ).pipe(Stream.mapError((error) => new StoreUnavailable(toMessage(error))))
  })
