import { createReadStream } from "node:fs"
import * as Effect from "effect/Effect"
import { ExitCode } from "../../../runtime/ExitCode.js"
import { systemErrorMessage } from "../../../runtime/SystemError.js"
import { expandHome } from "../../../runtime/XdgDirs.js"
import { CommandFailed } from "../daemon/CommandFailure.js"

const maxBytes = 256_000_000

const readAll = async (file: string): Promise<string> => {
  const chunks: Array<Buffer> = []
  let length = 0
  for await (const chunk of file === "-" ? process.stdin : createReadStream(expandHome(file))) {
    const bytes = Buffer.from(chunk)
    length += bytes.length
    if (length > maxBytes) throw new Error(`larger than ${maxBytes / 1_000_000} MB`)
    chunks.push(bytes)
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks))
  } catch {
    throw new Error("not UTF-8 text")
  }
}

/** `vms.yaml`, or `stdin` for `-`. */
export const inputName = (file: string): string => (file === "-" ? "stdin" : file)

/** Reads a file, pipe or FIFO to its end, or stdin for `-`. */
export const readInput = (file: string): Effect.Effect<string, CommandFailed> =>
  Effect.tryPromise({
    try: () => readAll(file),
    catch: (error) =>
      new CommandFailed({
        lines: [`Error: cannot read ${inputName(file)}: ${systemErrorMessage(error)}`],
        exitCode: ExitCode.usage
      })
  })
