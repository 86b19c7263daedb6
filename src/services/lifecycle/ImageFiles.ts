import { closeSync, constants, fstatSync, openSync, readdirSync, realpathSync, type Stats, statSync } from "node:fs"
import { join, sep } from "node:path"
import * as Effect from "effect/Effect"
import type { Drive } from "../../domain/VmConfig.js"
import type { DriveIdentity } from "../../domain/VmRun.js"
import { type FileRefused, refused, withFile } from "./FileRefused.js"

/** Nexus's own files, which no VM may be given. */
export interface OwnFiles {
  /** `$XDG_STATE_HOME/nexus`, with everything under it. */
  readonly stateFolder: string
  /** The database and its -wal and -shm, the settings, the token. */
  readonly paths: ReadonlyArray<string>
}

const fileIdentity = ({ dev, ino }: Stats): string => `file:${dev}:${ino}`

/** The same for every path that leads to the file. */
const identityOf = (path: string, stats: Stats): string => {
  if (stats.isFile()) return fileIdentity(stats)
  if (stats.isBlockDevice()) return `block:${stats.rdev}`
  throw refused(path, `expected a regular file or a block device${stats.isDirectory() ? ", found a folder" : ""}`)
}

/** Opens the file as the VMM will, since permissions are only one of the reasons that forbid it. */
const openOnce = (path: string, isWritable: boolean): Stats => {
  // A FIFO or a character device is not opened: that can have effects.
  identityOf(path, statSync(path))
  const descriptor = openSync(
    path,
    (isWritable ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK | constants.O_NOCTTY
  )
  try {
    return fstatSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

const realpathOrSame = (path: string): string => {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

function* filesUnder(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) yield* filesUnder(path)
    else if (entry.isFile()) yield path
  }
}

const hasIdentity = (identity: string) => (path: string) => {
  const stats = statSync(path, { throwIfNoEntry: false })
  return stats !== undefined && fileIdentity(stats) === identity
}

const isOwn = (path: string, stats: Stats, own: OwnFiles): boolean => {
  const isSame = hasIdentity(fileIdentity(stats))
  const stateFolder = realpathOrSame(own.stateFolder)
  if (own.paths.some(isSame) || `${realpathSync(path)}${sep}`.startsWith(`${stateFolder}${sep}`)) return true
  // Another name of a file in the state folder.
  return stats.isFile() && stats.nlink > 1 && Array.from(filesUnder(stateFolder)).some(isSame)
}

/** Returns the identity of a file that a VMM may open. Fails with the path and the reason. */
const identify = (path: string, isWritable: boolean, own: OwnFiles): Effect.Effect<string, FileRefused> =>
  withFile(path, () => {
    const stats = openOnce(path, isWritable)
    if (isOwn(path, stats, own)) throw refused(path, "is one of Nexus's own files")
    return identityOf(path, stats)
  })

/** Fails unless a VMM can read the file, and may. */
export const assertReadable = (path: string, own: OwnFiles): Effect.Effect<void, FileRefused> =>
  Effect.asVoid(identify(path, false, own))

const identifyDrive = ({ is_read_only, path_on_host }: Drive, own: OwnFiles) =>
  Effect.map(
    identify(path_on_host, is_read_only !== true, own),
    (identity): DriveIdentity => ({ path: path_on_host, identity, is_writable: is_read_only !== true })
  )

/** Returns the identities of a VM's drives. Fails if one can't be used, or two are one file that a VM writes. */
export const identifyDrives = (
  drives: ReadonlyArray<Drive>,
  own: OwnFiles
): Effect.Effect<ReadonlyArray<DriveIdentity>, FileRefused> =>
  Effect.forEach(drives, (drive) => identifyDrive(drive, own)).pipe(
    Effect.filterOrElse(
      (found) => sharedDrive(found) === undefined,
      (found) => refused(sharedDrive(found)?.path ?? "", "is given as two drives, one of which can be written")
    )
  )

const sharedDrive = (drives: ReadonlyArray<DriveIdentity>): DriveIdentity | undefined =>
  drives.find((one, index) =>
    drives.slice(0, index).some((other) => other.identity === one.identity && (other.is_writable || one.is_writable))
  )
