import { existsSync, mkdirSync } from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

/** XDG Base Directory: the variable counts only when it holds an absolute path. */
const folder = (variable: string, otherwise: string): string => {
  const set = process.env[variable]
  return set !== undefined && Path.isAbsolute(set) ? set : Path.join(Os.homedir(), otherwise)
}

/** Where this user's programs keep their settings. */
export const configDir = (): string => folder("XDG_CONFIG_HOME", ".config")

/** Where this user's programs keep what must outlive them. */
export const stateDir = (): string => folder("XDG_STATE_HOME", ".local/state")

/** Replaces a leading `~/` by the user's home folder. Shells do so only where a word begins with it. */
export const expandHome = (path: string): string =>
  path.startsWith("~/") ? Path.join(Os.homedir(), path.slice(2)) : path

/**
 * Makes a folder, and those above it that are missing, for their owner alone. One by one: Node's `recursive` hangs where a
 * file system, such as /proc, can't hold the folder.
 */
export const makePrivateDir = (path: string): void => {
  if (existsSync(path)) return
  makePrivateDir(Path.dirname(path))
  mkdirSync(path, { mode: 0o700 })
}
