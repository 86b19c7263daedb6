import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type HostFacts, hostFacts, hostFactsCommandName } from "../../../runtime/HostFacts.js"

const decode = (json: string) => Schema.decodeUnknown(Schema.parseJson(hostFacts()))(json)

/** Asks the nexusd that was installed with this nexusctl. In the built program `__dirname` is `dist`. */
export const readHostFacts: Effect.Effect<HostFacts, string> = Effect.gen(function* () {
  const nexusd = Path.join(__dirname, "nexusd.cjs")
  if (!existsSync(nexusd)) return yield* Effect.fail(`there is no ${nexusd}`)
  const { status, stderr, stdout } = spawnSync(process.execPath, [nexusd, hostFactsCommandName], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 30_000
  })
  if (status !== 0) return yield* Effect.fail(`${nexusd} failed: ${stderr.trim()}`)
  return yield* Effect.mapError(decode(stdout), () => `${nexusd} is of another version`)
})
