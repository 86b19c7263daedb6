import * as Path from "node:path"
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { printLines } from "../../runtime/StandardStreams.js"
import { newToken } from "../../runtime/Token.js"
import { expandHome } from "../../runtime/XdgDirs.js"
import { defaultTokenPath } from "../../services/Config.js"
import { withSubcommands } from "../runner/CommandTree.js"

/** `nexusd token new`. */
const tokenNewCommand = Command.make(
  "new",
  {
    file: Args.text({ name: "FILE" }).pipe(
      Args.withDescription(`Where to put it (default: ${defaultTokenPath()})`),
      Args.withDefault(defaultTokenPath())
    )
  },
  (given) =>
    Effect.gen(function* () {
      const file = Path.resolve(expandHome(given.file))
      yield* newToken(file)
      yield* printLines([
        `Made ${file}`,
        "",
        `  For nexusd, in nexus.yaml:      api: { token_file: "${file}" }`,
        `  For nexusctl, in config.yaml:   token_file: "${file}"`
      ])
    })
).pipe(Command.withDescription("Make a token that every request must carry then"))

/** `nexusd token`. */
export const tokenCommand = Command.make("token").pipe(
  Command.withDescription("Manage the token that guards the API"),
  withSubcommands([tokenNewCommand])
)
