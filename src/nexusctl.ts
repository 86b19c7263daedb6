import * as Command from "@effect/cli/Command"
import * as Option from "effect/Option"
import { layer } from "./cli/nexusctl/daemon/DaemonClient.js"
import { examples } from "./cli/nexusctl/Examples.js"
import { nexusctl } from "./cli/nexusctl/RootCommand.js"
import { main } from "./cli/runner/Program.js"

main({
  name: "nexusctl",
  aliases: ["nxc"],
  command: nexusctl.pipe(
    Command.provide(({ config, context, daemon, timeout, "token-file": tokenFile, verbose }) =>
      layer({
        config: Option.getOrUndefined(config),
        context: Option.getOrUndefined(context),
        daemon: Option.getOrUndefined(daemon),
        tokenFile: Option.getOrUndefined(tokenFile),
        isVerbose: verbose,
        timeout: Option.getOrUndefined(timeout)
      })
    )
  ),
  tree: nexusctl.tree,
  hasRootHandler: false,
  examples,
  failure: (error) => error
})
