import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { Address, defaultAddress, formatAddress } from "../../domain/Address.js"
import { literals } from "../../domain/Schemas.js"
import { colourModes } from "../../runtime/Colour.js"
import { withAliases, withSubcommands } from "../runner/CommandTree.js"
import { schemaOption } from "../runner/SchemaOption.js"
import { applyCommand } from "./commands/ApplyCommand.js"
import { completeContextsCommand } from "./commands/CompleteContextsCommand.js"
import { completeVmsCommand } from "./commands/CompleteVmsCommand.js"
import { configCommand } from "./commands/ConfigCommand.js"
import { doctorCommand } from "./commands/DoctorCommand.js"
import { mcpCommand } from "./commands/McpCommand.js"
import { statusCommand } from "./commands/StatusCommand.js"
import { versionCommand } from "./commands/VersionCommand.js"
import { createCommand, deleteCommand, inspectCommand, listCommand } from "./commands/VmCommands.js"
import { editCommand } from "./commands/VmEditCommand.js"
import { logsCommand } from "./commands/VmLogsCommand.js"
import { restartCommand, startCommand, stopCommand, waitCommand } from "./commands/VmRunCommands.js"
import { updateCommand } from "./commands/VmUpdateCommand.js"
import { SilenceSeconds } from "./daemon/DaemonClient.js"
import { ContextName, defaultConfigPath, defaultSilenceSeconds } from "./daemon/Settings.js"

const vm = Command.make("vm").pipe(
  Command.withDescription("Manage VMs"),
  withSubcommands([
    createCommand,
    listCommand.pipe(withAliases("ls")),
    inspectCommand.pipe(withAliases("show")),
    deleteCommand.pipe(withAliases("rm")),
    updateCommand,
    editCommand,
    startCommand,
    stopCommand,
    restartCommand,
    waitCommand,
    logsCommand
  ])
)

/** The root command. Its options say which daemon is meant. */
export const nexusctl = Command.make("nexusctl", {
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
  context: Options.optional(
    schemaOption("context", "CONTEXT", ContextName, undefined, "current in the settings, if NEXUS_DAEMON is not set")
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
  color: schemaOption(
    "color",
    colourModes.join(" | "),
    literals(colourModes, "Colours for states and errors; auto: on a terminal, without NO_COLOR"),
    "auto"
  ),
  verbose: Options.boolean("verbose").pipe(
    Options.withDescription("Show each call on stderr: as a line of curl, then its status, time and request id")
  ),
  timeout: Options.optional(
    schemaOption("timeout", "S", SilenceSeconds, undefined, `${defaultSilenceSeconds}, and 60 for a start`)
  )
}).pipe(
  Command.withDescription("Control nexusd, the daemon that keeps the records of this host's microVMs (alias: nxc)"),
  withSubcommands([
    statusCommand,
    versionCommand,
    vm,
    applyCommand,
    configCommand,
    doctorCommand,
    mcpCommand,
    completeVmsCommand,
    completeContextsCommand
  ])
)
