import type { Shell } from "../CommandLine.js"
import type { CommandTree } from "../CommandTree.js"
import { bashScript } from "./BashScript.js"
import { fishScript } from "./FishScript.js"
import { zshScript } from "./ZshScript.js"

/** The lines of a script that completes a program's commands, options and values. */
export const completionScript = (
  shell: Shell,
  root: CommandTree,
  aliases: ReadonlyArray<string>
): ReadonlyArray<string> =>
  ({ bash: bashScript, zsh: zshScript, fish: fishScript })[shell](root, aliases).trimEnd().split("\n")
