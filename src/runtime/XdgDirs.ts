import { existsSync, mkdirSync } from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

/** XDG Base Directory Specification: a relative path in the variable is ignored. */
const xdgDir = (variable: string, otherwise: string): string => {
  const set = process.env[variable]
  return set !== undefined && Path.isAbsolute(set) ? set : Path.join(Os.homedir(), otherwise)
}

/** `$XDG_CONFIG_HOME`, else `~/.config`. */
export const configDir = (): string => xdgDir("XDG_CONFIG_HOME", ".config")

/** `$XDG_STATE_HOME`, else `~/.local/state`. */
export const stateDir = (): string => xdgDir("XDG_STATE_HOME", ".local/state")

/** Replaces a leading `~/` with the home folder. */
export const expandHome = (path: string): string =>
  path.startsWith("~/") ? Path.join(Os.homedir(), path.slice(2)) : path

/** Creates a folder and its missing parents with mode 0700. Node.js's `recursive` hangs under /proc. */
export const makePrivateDir = (path: string): void => {
  if (existsSync(path)) return
  makePrivateDir(Path.dirname(path))
  mkdirSync(path, { mode: 0o700 })
}
