import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Option from "effect/Option"
import { completeVmsCommand } from "./cli/nexusctl/CompleteVmsCommand.js"
import { defaultConfigPath, defaultSilenceSeconds, layer, SilenceSeconds } from "./cli/nexusctl/DaemonClient.js"
import { statusCommand } from "./cli/nexusctl/StatusCommand.js"
import { versionCommand } from "./cli/nexusctl/VersionCommand.js"
import { createCommand, deleteCommand, inspectCommand, listCommand } from "./cli/nexusctl/VmCommands.js"
import { logsCommand } from "./cli/nexusctl/VmLogsCommand.js"
import { restartCommand, startCommand, stopCommand, waitCommand } from "./cli/nexusctl/VmRunCommands.js"
import { updateCommand } from "./cli/nexusctl/VmUpdateCommand.js"
import { withSubcommands } from "./cli/runner/CommandTree.js"
import { main } from "./cli/runner/Program.js"
import { schemaOption } from "./cli/runner/SchemaOption.js"
import { Address, defaultAddress, formatAddress } from "./domain/Address.js"
import { ExitCode } from "./runtime/ExitCode.js"

const vm = Command.make("vm").pipe(
  Command.withDescription("Manage VMs"),
  withSubcommands([
    createCommand,
    listCommand,
    inspectCommand,
    deleteCommand,
    updateCommand,
    startCommand,
    stopCommand,
    restartCommand,
    waitCommand,
    logsCommand
  ])
)

const nexusctl = Command.make("nexusctl", {
  config: Options.text("config").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription(`Settings (default: ${defaultConfigPath()})`),
    Options.optional
  ),
  "token-file": Options.text("token-file").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription("File with the daemon's token (default: NEXUS_TOKEN, else token_file in the settings)"),
    Options.optional
  ),
  daemon: Options.optional(
    schemaOption(
      "daemon",
      "HOST:PORT",
      Address,
      undefined,
      `NEXUS_DAEMON, else the settings, else ${formatAddress(defaultAddress)}`
    )
  ),
  timeout: Options.optional(
    schemaOption("timeout", "S", SilenceSeconds, undefined, `${defaultSilenceSeconds}, and 60 for a start`)
  )
}).pipe(
  Command.withDescription("Control nexusd, the daemon that keeps the records of this host's microVMs (alias: nxc)"),
  withSubcommands([statusCommand, versionCommand, vm, completeVmsCommand])
)

main({
  name: "nexusctl",
  aliases: ["nxc"],
  command: nexusctl.pipe(
    Command.provide(({ config, daemon, timeout, "token-file": tokenFile }) =>
      layer({
        config: Option.getOrUndefined(config),
        daemon: Option.getOrUndefined(daemon),
        tokenFile: Option.getOrUndefined(tokenFile),
        timeout: Option.getOrUndefined(timeout)
      })
    )
  ),
  tree: nexusctl.tree,
  hasRootHandler: false,
  failure: (error) =>
    error._tag === "BadConfig" ? { lines: [`Error: ${error.message}`], exitCode: ExitCode.usage } : error
})
