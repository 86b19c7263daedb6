import type { CommandTree, ValueKind } from "../CommandTree.js"
import { quote } from "../ShellWord.js"
import {
  type CompletedCommand,
  completeContexts,
  completedCommands,
  completeVmsIn300Millis,
  valuedGlobals
} from "./CompletedCommand.js"

const zshText = (text: string): string => text.replace(/[[\]:\\]/g, "\\$&")

/** The completion script for zsh. */
export const zshScript = (root: CommandTree, aliases: ReadonlyArray<string>): string => {
  const commands = completedCommands(root)
  const name = `_${root.name}`
  const functionOf = (path: string) => `_${path.replaceAll(/[ -]/g, "_")}`
  const action = (kind: ValueKind): string => {
    switch (kind._tag) {
      case "Words":
        return `(${kind.words.join(" ")})`
      case "File":
        return "_files"
      case "Vm":
        return `${name}_vms`
      case "Context":
        return `${name}_contexts`
      case "Text":
        return " "
    }
  }
  const specs = ({ argument, children, isArgumentRepeatable, options }: CompletedCommand): ReadonlyArray<string> => [
    ...options.flatMap(({ description, kind, names }) =>
      names.map((option) => {
        const how = kind === undefined ? "" : option.startsWith("--") ? "=" : "+"
        const value = kind === undefined ? "" : `:value:${action(kind)}`
        return quote(`(${names.join(" ")})${option}${how}[${zshText(description)}]${value}`)
      })
    ),
    // (-): what follows the command is for the command to complete, global options too.
    ...(children.length > 0 ? [quote("(-)1: :->command"), quote("(-)*:: :->rest")] : []),
    ...(argument === undefined ? [] : [quote(`${isArgumentRepeatable ? "*" : "1"}:argument:${action(argument)}`)])
  ]
  const functions = commands.map((command) => {
    const list = specs(command)
      .map((spec) => `    ${spec}`)
      .join(" \\\n")
    const { children, path } = command
    const after =
      children.length === 0
        ? ""
        : `
  case $state in
    command)
      local -a commands=(
${children.map((child) => `        ${quote(`${child.name}:${zshText(child.description)}`)}`).join("\n")}
      )
      _describe command commands
      ;;
    rest)
      case $words[1] in
${children.map((child) => `        ${quote(child.name)}) ${functionOf(`${path} ${child.name}`)} ;;`).join("\n")}
      esac
      ;;
  esac`
    return `${functionOf(path)}_command() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -s -C \\
${list}${after}
}`.replaceAll(`${functionOf(path)}_command`, path === root.name ? `${name}_command` : functionOf(path))
  })
  const globals = valuedGlobals(root)
  return `#compdef ${[root.name, ...aliases].join(" ")}
# zsh completion: source <(${root.name} --completions zsh), or a file _${root.name} in a folder of $fpath.

# Completes the names that a command prints, with the global options of the line.
${name}_names() {
  local -a names globals
  local i
  for ((i = 2; i < $#line_words; i++)); do
    case $line_words[i] in
      # Not the option whose value is being completed.
      ${globals.length === 0 ? "''" : globals.join(" | ")}) ((i + 1 < $#line_words)) && globals+=($line_words[i] $line_words[i+1]) ;;
      ${globals.length === 0 ? "''" : globals.map((option) => `${option}=*`).join(" | ")}) globals+=($line_words[i]) ;;
    esac
  done
  names=(\${(M)\${(f)"$($line_words[1] $@ $globals 2>/dev/null </dev/null)"}:#[A-Za-z0-9]*})
  compadd -a names
}

${name}_vms() { ${name}_names ${completeVmsIn300Millis}; }
${name}_contexts() { ${name}_names ${completeContexts}; }

${functions.join("\n\n")}

${name}() {
  local -a line_words=("\${words[@]}")
  ${name}_command
}

if [[ $funcstack[1] == ${name} ]]; then
  ${name}
else
  compdef ${name} ${[root.name, ...aliases].join(" ")}
fi
`
}
