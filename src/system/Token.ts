import { randomBytes } from "node:crypto"
import { readFileSync, statSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import { BadConfig } from "./ConfigFile.js"
import { makeFolder } from "./UserFolders.js"

/** Reads a bearer token from a file that nobody else may read. */
export const readToken = (path: string): Effect.Effect<string, BadConfig> =>
  Effect.gen(function* () {
    const { mode, text } = yield* Effect.try({
      try: () => ({ mode: statSync(path).mode, text: readFileSync(path, "utf8").trim() }),
      catch: (error) => new BadConfig({ message: `cannot read the token file ${path}: ${String(error)}` })
    })
    if ((mode & 0o077) !== 0) {
      return yield* new BadConfig({ message: `the token file ${path} can be read by others: chmod 600 ${path}` })
    }
    if (!/^[\x21-\x7e]{16,}$/.test(text)) {
      return yield* new BadConfig({
        message: `the token file ${path} holds no token: nexusd token new makes one (16 or more printable characters)`
      })
    }
    return text
  })

/** Makes a file with a new token of 256 random bits, for its owner alone; an existing one is left as it is. */
export const newToken = (path: string): Effect.Effect<void, BadConfig> =>
  Effect.try({
    try: () => {
      makeFolder(dirname(path))
      writeFileSync(path, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600, flag: "wx" })
    },
    catch: (error) => new BadConfig({ message: `cannot make the token file ${path}: ${String(error)}` })
  })
