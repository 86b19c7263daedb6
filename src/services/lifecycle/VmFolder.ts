import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  type Stats,
  unlinkSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import { makePrivateDir } from "../../runtime/XdgDirs.js"
import type { VmFiles } from "../vmm/Vmm.js"
import { FileRefused, refused, withFile } from "./FileRefused.js"

/** sizeof(sun_path) without its terminating zero (unix(7)). */
const maxSocketPathBytes = 107

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** The folder that holds a folder for each VM. */
const vmsFolder = (stateFolder: string): string => join(stateFolder, "vms")

/**
 * The files of a VM. Fails for an id that is not a UUID in lower case, which could lead to another folder, and where the
 * path is too long for a socket.
 */
export const filesOf = (stateFolder: string, id: string): Either.Either<VmFiles, FileRefused> => {
  if (!uuid.test(id)) {
    return Either.left(
      new FileRefused({ message: `its id ${JSON.stringify(id)} is not a UUID in lower case, and names no folder` })
    )
  }
  const folder = join(vmsFolder(stateFolder), id)
  const files: VmFiles = {
    folder,
    consoleLog: join(folder, "console.log"),
    vmmLog: join(folder, "vmm.log"),
    apiSocket: join(folder, "api.sock"),
    vsockSocket: join(folder, "vsock.sock")
  }
  return Buffer.byteLength(files.vsockSocket) > maxSocketPathBytes
    ? Either.left(
        refused(
          files.vsockSocket,
          `longer than the ${maxSocketPathBytes} bytes of a socket's path: set XDG_STATE_HOME to a shorter folder`
        )
      )
    : Either.right(files)
}

/** Names the database that a folder belongs to, since databases may share a state folder. */
const databaseFile = (folder: string): string => join(folder, "database")

const assertOurs = (path: string, stats: Stats): void => {
  if (stats.uid !== process.geteuid?.()) throw refused(path, "belongs to another user")
}

const assertFolder = (path: string, stats: Stats): void => {
  if (!stats.isDirectory()) throw refused(path, "expected a folder, which is no symbolic link")
  assertOurs(path, stats)
  if ((stats.mode & 0o077) !== 0) chmodSync(path, 0o700)
}

const ensureFolder = (path: string): void => {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined) mkdirSync(path, { mode: 0o700 })
  else assertFolder(path, stats)
}

const noFollow = constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY

/** Opens a file that is ours alone. Never follows a link, and never waits for the other end of a FIFO. */
const openOurs = (path: string, flags: number): number => {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) throw refused(path, "expected no symbolic link")
  const descriptor = openSync(path, flags | noFollow, 0o600)
  try {
    const stats = fstatSync(descriptor)
    if (!stats.isFile()) throw refused(path, "expected a regular file")
    assertOurs(path, stats)
    if (stats.nlink !== 1) throw refused(path, "expected no hard link")
    return descriptor
  } catch (error) {
    closeSync(descriptor)
    throw error
  }
}

/** Opens a log of a VM for reading. Fails if it is not ours alone. */
export const openForReading = (path: string): number => openOurs(path, constants.O_RDONLY)

/** Opens a log of a VM for appending, and creates it. Fails if it is not ours alone. */
const openForAppending = (path: string): number =>
  openOurs(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND)

/** Empties a log of a VM. A process that writes into it without O_APPEND makes it sparse. */
export const truncate = (path: string): void => {
  const descriptor = openOurs(path, constants.O_WRONLY)
  try {
    ftruncateSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

const databaseOf = (folder: string): string | undefined => {
  if (lstatSync(databaseFile(folder), { throwIfNoEntry: false }) === undefined) return undefined
  const descriptor = openForReading(databaseFile(folder))
  try {
    return readFileSync(descriptor, "utf8").trim()
  } finally {
    closeSync(descriptor)
  }
}

/** Whether a folder is there, is ours and belongs to a database. */
export const isFolderOf = (folder: string, databaseId: string): Effect.Effect<boolean> =>
  withFile(folder, () => {
    const stats = lstatSync(folder, { throwIfNoEntry: false })
    return stats?.isDirectory() === true && stats.uid === process.geteuid?.() && databaseOf(folder) === databaseId
  }).pipe(Effect.orElseSucceed(() => false))

/** Whether a folder names another database. */
export const isFolderOfAnother = (folder: string, databaseId: string): Effect.Effect<boolean> =>
  withFile(folder, () => (databaseOf(folder) ?? databaseId) !== databaseId).pipe(Effect.orElseSucceed(() => true))

/** A VMM leaves its sockets behind, and does not listen where one is. */
const removeSockets = ({ apiSocket, vsockSocket }: VmFiles) =>
  Effect.forEach([apiSocket, vsockSocket], (path) =>
    withFile(path, () => {
      if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) unlinkSync(path)
    })
  )

/** Removes what a run that has ended leaves behind. */
export const tidy = (files: VmFiles, databaseId: string): Effect.Effect<void> =>
  Effect.if(isFolderOf(files.folder, databaseId), {
    onTrue: () => Effect.ignore(removeSockets(files)),
    onFalse: () => Effect.void
  })

/** Descriptors of a VM's logs. */
export interface OpenLogs {
  readonly consoleDescriptor: number
  readonly vmmLogDescriptor: number
}

const opened = (path: string) =>
  Effect.acquireRelease(
    withFile(path, () => openForAppending(path)),
    (descriptor) => Effect.sync(() => closeSync(descriptor))
  )

/** Makes the folder of a VM ready for a start: no sockets, an empty `vmm.log`, a console log to append to. */
export const prepare = (
  stateFolder: string,
  files: VmFiles,
  databaseId: string
): Effect.Effect<OpenLogs, FileRefused, Scope.Scope> =>
  Effect.gen(function* () {
    yield* withFile(vmsFolder(stateFolder), () => {
      makePrivateDir(stateFolder)
      ensureFolder(vmsFolder(stateFolder))
    })
    yield* withFile(files.folder, () => {
      ensureFolder(files.folder)
      const owner = databaseOf(files.folder)
      if (owner === undefined) {
        writeFileSync(databaseFile(files.folder), `${databaseId}\n`, { flag: "wx", mode: 0o600 })
      } else if (owner !== databaseId) throw refused(files.folder, "belongs to a VM of another database")
    })
    yield* removeSockets(files)
    const consoleDescriptor = yield* opened(files.consoleLog)
    const vmmLogDescriptor = yield* opened(files.vmmLog)
    yield* withFile(files.vmmLog, () => ftruncateSync(vmmLogDescriptor))
    return { consoleDescriptor, vmmLogDescriptor }
  })

/** Removes the folder of a VM, if it belongs to the database. Links in it are removed, and not followed. */
export const remove = (files: VmFiles, databaseId: string): Effect.Effect<void, FileRefused> =>
  Effect.if(isFolderOf(files.folder, databaseId), {
    onTrue: () => withFile(files.folder, () => rmSync(files.folder, { recursive: true, force: true })),
    onFalse: () => Effect.void
  })

/** The ids that have a folder. */
export const foldersIn = (stateFolder: string): Effect.Effect<ReadonlyArray<string>> =>
  withFile(vmsFolder(stateFolder), () => readdirSync(vmsFolder(stateFolder)).filter((name) => uuid.test(name))).pipe(
    Effect.orElseSucceed(() => [])
  )
