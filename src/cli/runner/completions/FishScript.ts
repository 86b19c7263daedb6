import type { CommandTree, ValueKind } from "../CommandTree.js"
import { completeContexts, completedCommands, completeVmsIn300Millis, valuedGlobals } from "./CompletedCommand.js"

const fishQuote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`

/** The completion script for fish. */
export const fishScript = (root: CommandTree, aliases: ReadonlyArray<string>): string => {
  const commands = completedCommands(root)
  const name = `__${root.name}`
  const valued = Array.from(
    new Set(commands.flatMap(({ options }) => options.flatMap(({ kind, names }) => (kind === undefined ? [] : names))))
  )
  const globals = valuedGlobals(root)
  const action = (kind: ValueKind | undefined): string => {
    if (kind === undefined) return ""
    switch (kind._tag) {
      case "Words":
        return ` -x -a ${fishQuote(kind.words.join(" "))}`
      case "File":
        return " -r -F"
      case "Vm":
        return ` -x -a '(${name}_vms)'`
      case "Context":
        return ` -x -a '(${name}_contexts)'`
      case "Text":
        return " -x"
    }
  }
  const lines = commands.flatMap(({ argument, children, options, path }) => {
    const at = `complete -c ${root.name} -n ${fishQuote(`${name}_at ${fishQuote(path)}`)}`
    return [
      ...children.map((child) => `${at} -f -a ${fishQuote(child.name)} -d ${fishQuote(child.description)}`),
      ...options.map(({ description, kind, names }) => {
        const flags = names.map((option) =>
          option.startsWith("--") ? `-l ${option.slice(2)}` : `-s ${option.slice(1)}`
        )
        return `${at} ${flags.join(" ")}${action(kind)} -d ${fishQuote(description)}`
      }),
      ...(argument?._tag === "File" ? [`${at} -F`] : []),
      ...(argument?._tag === "Vm" ? [`${at} -f -a '(${name}_vms)'`] : [])
    ]
  })
  return `# fish completion for ${[root.name, ...aliases].join(", ")}: ${root.name} --completions fish | source

# Succeeds where the words before the cursor lead to this command.
function ${name}_at
    set -l path ${root.name}
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word ${valued.join(" ")}
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if contains -- "$path $word" ${commands.map(({ path }) => fishQuote(path)).join(" ")}
            set path "$path $word"
        end
    end
    test "$path" = "$argv[1]"
end

# Prints the names that a command prints, with the global options of the line.
function ${name}_names
    set -l words (commandline -opc)
    set -l globals
    set -l option
    for word in $words[2..-1]
        if set -q option[1]
            set -a globals $option $word
            set option
        else if contains -- $word ${globals.join(" ")}
            set option $word
        else if string match -qr -- ${fishQuote(`^(${globals.join("|")})=`)} $word
            set -a globals $word
        end
    end
    command $words[1] $argv $globals 2>/dev/null </dev/null | string match -r '^[A-Za-z0-9][A-Za-z0-9._-]*$'
end

function ${name}_vms
    ${name}_names ${completeVmsIn300Millis}
end

function ${name}_contexts
    ${name}_names ${completeContexts}
end

complete -c ${root.name} -f
${lines.join("\n")}
${aliases.map((alias) => `complete -c ${alias} -w ${root.name}`).join("\n")}
`
}
