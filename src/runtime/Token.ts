import { randomBytes } from "node:crypto"
import { writeFileSync } from "node:fs"
import { dirname } from "node:path"
import * as Effect from "effect/Effect"
import { BadConfig } from "./ConfigFile.js"
import { readRegularFile } from "./RegularFile.js"
import { systemErrorMessage } from "./SystemError.js"
import { expandHome, makePrivateDir } from "./XdgDirs.js"

const maxBytes = 4096

/** Reads a bearer token from a file of mode 0600 and at most 4 KiB. */
export const readToken = (path: string): Effect.Effect<string, BadConfig> =>
  Effect.gen(function* () {
    const file = expandHome(path)
    const { mode, text } = yield* Effect.mapError(
      readRegularFile(file, maxBytes),
      ({ reason }) => new BadConfig({ message: `cannot read the token file ${file}: ${reason}` })
    )
    if ((mode & 0o077) !== 0) {
      return yield* new BadConfig({ message: `the token file ${file} can be read by others: chmod 600 ${file}` })
    }
    const token = text.trim()
    if (!/^[\x21-\x7e]{16,}$/.test(token)) {
      return yield* new BadConfig({
        message: `the token file ${file} holds no token: nexusd token new makes one (16 or more printable characters)`
      })
    }
    return token
  })

/** Reads a bearer token from an environment variable. An empty one counts as unset. The error does not show the value. */
export const tokenFromEnvironment = (variable: string): Effect.Effect<string | undefined, BadConfig> =>
  Effect.suspend(() => {
    const token = process.env[variable]
    if (token === undefined || token === "") return Effect.succeed(undefined)
    return /^[\x21-\x7e]+$/.test(token)
      ? Effect.succeed(token)
      : new BadConfig({
          message: `${variable}: expected a token of printable ASCII characters without blanks or line feeds`
        })
  })

/** Creates a file of mode 0600 with a token of 256 random bits. Fails if the file exists. */
export const newToken = (path: string): Effect.Effect<void, BadConfig> =>
  Effect.try({
    try: () => {
      makePrivateDir(dirname(path))
      writeFileSync(path, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600, flag: "wx" })
    },
    catch: (error) =>
      new BadConfig({
        message:
          error instanceof Error && "code" in error && error.code === "EEXIST"
            ? `${path} exists already and was not changed: name another file, or remove it first`
            : `cannot make the token file ${path}: ${systemErrorMessage(error)}`
      })
  })
