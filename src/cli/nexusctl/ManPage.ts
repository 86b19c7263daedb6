import { version } from "../../domain/Version.js"
import { manPage } from "../runner/ManPage.js"
import { examples } from "./Examples.js"
import { nexusctl } from "./RootCommand.js"

/** `nexusctl.1`. The build writes it, with `~` as the home folder. */
export const text = (): string =>
  manPage(nexusctl.tree, {
    version,
    examples,
    sections: {
      "EXIT STATUS": [
        ["0", "Done."],
        ["1", "Anything not below, and vm delete without --yes."],
        ["2", "Usage or configuration."],
        ["3", "The daemon can't be reached."],
        ["4", "No such VM."],
        ["5", "Conflict: the name is taken, the VM is running or not running, the record has changed."],
        ["6", "vm wait timed out."],
        ["130", "Interrupted."]
      ],
      ENVIRONMENT: [
        ["NEXUS_DAEMON", "The daemon's address."],
        ["NEXUS_TOKEN", "The daemon's token."]
      ],
      FILES: [
        [
          "~/.config/nexusctl/config.yaml",
          "The settings: daemon, token_file, contexts and current. $XDG_CONFIG_HOME precedes ~/.config."
        ]
      ]
    }
  })
