import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { defaultConfigPath, loadConfig } from "../../services/Config.js"
import type { RunningVms } from "../../services/RunningVms.js"
import { vmmRecognition } from "../../services/vmm/VmmRecognition.js"

const options = {
  config: Options.text("config").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription(`Settings (default: ${defaultConfigPath()})`),
    Options.optional
  ),
  db: Options.text("db").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription(
      "The database, a path or a postgres:// URL (default: NEXUS_DATABASE_URL, else database.url in the settings, else $XDG_STATE_HOME/nexus/nexus.db)"
    ),
    Options.optional
  )
}

/** The root command, without its handler. */
export const nexusd = Command.make("nexusd", options).pipe(
  Command.withDescription("The Nexus daemon: runs this host's microVMs and serves the REST API")
)

/** The settings, with the options of the command line applied. */
export const settingsOf = ({ config, db }: Command.Command.ParseConfig<typeof options>) =>
  loadConfig({ config: Option.getOrUndefined(config), database: Option.getOrUndefined(db) })

/** The settings of a command below nexusd. */
export const config = Effect.flatMap(nexusd, settingsOf)

/** The VMMs of this user on this host. */
export const runningVms = Effect.map(
  config,
  ({ vm }): RunningVms =>
    new Map(
      vmmRecognition(vm)
        .scan()
        .map(({ id, process }) => [id, process.pid])
    )
)
