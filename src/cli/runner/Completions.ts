import type { Shell } from "./CommandLine.js"
import { builtInOptions } from "./CommandLine.js"
import {
  type CommandOption,
  type CommandTree,
  descriptionOf,
  optionDescriptions,
  type ValueKind,
  valueKind,
  visibleChildren
} from "./CommandTree.js"

/** The hidden command that prints the names of VMs, one a line. Its argument is how long it may take. */
export const completeVms = "complete-vms"
const completeVmsIn300Millis = `${completeVms} 300`

interface CompletedOption extends CommandOption {
  readonly description: string
  readonly kind: ValueKind | undefined
}

/** A command as a shell completes it. */
interface CompletedCommand {
  /** `nexusctl vm list`. */
  readonly path: string
  readonly children: ReadonlyArray<{ readonly name: string; readonly description: string }>
  readonly options: ReadonlyArray<CompletedOption>
  readonly argument: ValueKind | undefined
}

const builtInDescriptions = new Map([
  ["--help", "Show help"],
  ["--version", "Show the version"],
  ["--completions", "Print completions for a shell"]
])

const kindOf = (placeholder: string | undefined) => (placeholder === undefined ? undefined : valueKind(placeholder))

const commandsOf = (root: CommandTree): ReadonlyArray<CompletedCommand> => {
  const optionsOf = (tree: CommandTree): ReadonlyArray<CompletedOption> => {
    const descriptions = optionDescriptions(tree)
    return tree.parameters().options.map((option) => ({
      ...option,
      description: descriptions.get(option.names[0]) ?? "",
      kind: kindOf(option.placeholder)
    }))
  }
  const everywhere = [
    ...optionsOf(root),
    ...Object.values(builtInOptions).map((option) => ({
      ...option,
      description: builtInDescriptions.get(option.names[0]) ?? "",
      kind: kindOf(option.placeholder)
    }))
  ]
  const visit = (tree: CommandTree, parents: string): ReadonlyArray<CompletedCommand> => {
    const path = `${parents}${tree.name}`
    return [
      {
        path,
        children: visibleChildren(tree).map((child) => ({ name: child.name, description: descriptionOf(child) })),
        options: [...(tree === root ? [] : optionsOf(tree)), ...everywhere],
        argument: kindOf(tree.parameters().arguments[0]?.placeholder)
      },
      ...visibleChildren(tree).flatMap((child) => visit(child, `${path} `))
    ]
  }
  return visit(root, "")
}

/** A text as one word of a POSIX shell. */
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** Words that a script tells apart: `words a b`, `files`, `vms`, `text`. */
const kindWord = (kind: ValueKind): string => {
  switch (kind._tag) {
    case "Words":
      return `words ${kind.words.join(" ")}`
    case "File":
      return "files"
    case "Vm":
      return "vms"
    case "Text":
      return "text"
  }
}

/** `case` branches, those with the same outcome joined. */
const branches = (cases: ReadonlyArray<readonly [pattern: string, outcome: string]>, indent: string): string => {
  const outcomes = new Map<string, Array<string>>()
  for (const [pattern, outcome] of cases) outcomes.set(outcome, [...(outcomes.get(outcome) ?? []), pattern])
  return Array.from(outcomes, ([outcome, patterns]) => `${indent}${patterns.join(" | ")}) ${outcome} ;;`).join("\n")
}

const bash = (root: CommandTree, aliases: ReadonlyArray<string>): string => {
  const commands = commandsOf(root)
  const name = `_${root.name}`
  const globals = root.parameters().options.flatMap((option) => (option.placeholder === undefined ? [] : option.names))
  const values = commands.flatMap(({ options, path }) =>
    options.flatMap(({ kind, names }) =>
      kind === undefined ? [] : names.map((option) => [quote(`${path} ${option}`), quote(kindWord(kind))] as const)
    )
  )
  const words = commands.map(
    ({ children, path }) => [quote(path), quote(children.map((child) => child.name).join(" "))] as const
  )
  const options = commands.map(
    ({ options, path }) => [quote(path), quote(options.flatMap(({ names }) => names).join(" "))] as const
  )
  const operands = commands.flatMap(({ argument, path }) =>
    argument === undefined ? [] : [[quote(path), quote(kindWord(argument))] as const]
  )
  const assign = (cases: ReadonlyArray<readonly [string, string]>) =>
    branches(
      cases.map(([pattern, value]) => [pattern, `REPLY=${value}`]),
      "    "
    )
  return `# bash completion for ${[root.name, ...aliases].join(", ")}: source <(${root.name} --completions bash)

# What the value of an option is: "COMMAND OPTION".
${name}_value() {
  REPLY=
  case $1 in
${assign(values)}
  esac
}

${name}_commands() {
  REPLY=
  case $1 in
${assign(words)}
  esac
}

${name}_options() {
  REPLY=
  case $1 in
${assign(options)}
  esac
}

${name}_argument() {
  REPLY=
  case $1 in
${assign(operands)}
  esac
}

# Completes $cur by a kind of value; uses the words of the command line before it.
${name}_reply() {
  local word
  case $1 in
    words\\ *)
      for word in \${1#words }; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("$word")
      done
      ;;
    files)
      compopt -o filenames 2>/dev/null
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur")
      ;;
    vms)
      while IFS= read -r word; do
        [[ $word =~ ^[a-z0-9-]+$ && $word == "$cur"* ]] && COMPREPLY+=("$word")
      done < <("\${COMP_WORDS[0]}" ${completeVmsIn300Millis} "\${globals[@]}" 2>/dev/null </dev/null)
      ;;
  esac
}

${name}() {
  local cur word path=${quote(root.name)} expects= option= REPLY= rest= operands=0 i
  local -a words=() globals=()
  COMPREPLY=()
  # Bash splits words at = and :, which are put together again.
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ \${#words[@]} -gt 0 && ($word == [=:]* || \${words[-1]} == *[=:]) && \${words[-1]} != [=:] ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
  done
  if [[ \${#words[@]} -eq 0 ]]; then return; fi
  cur=\${words[-1]}
  unset 'words[-1]'
  for word in "\${words[@]}"; do
    if [[ -n $expects ]]; then
      case $option in ${globals.length === 0 ? "''" : globals.map(quote).join(" | ")}) globals+=("$option" "$word") ;; esac
      expects=
    elif [[ -n $rest ]]; then
      operands=$((operands + 1))
    elif [[ $word == -- ]]; then
      rest=1
    elif [[ $word == -*=* ]]; then
      option=\${word%%=*}
      case $option in ${globals.length === 0 ? "''" : globals.map(quote).join(" | ")}) globals+=("$word") ;; esac
    elif [[ $word == -* ]]; then
      option=$word
      ${name}_value "$path $word"
      expects=$REPLY
    else
      ${name}_commands "$path"
      case " $REPLY " in
        *" $word "*) path+=" $word" ;;
        *) operands=$((operands + 1)) ;;
      esac
    fi
  done
  if [[ -n $expects ]]; then
    ${name}_reply "$expects"
  elif [[ -z $rest && $cur == -*=* ]]; then
    ${name}_value "$path \${cur%%=*}"
    cur=\${cur#*=}
    ${name}_reply "$REPLY"
  elif [[ -z $rest && $cur == -* ]]; then
    ${name}_options "$path"
    ${name}_reply "words $REPLY"
  else
    ${name}_commands "$path"
    if [[ -n $REPLY && -z $rest ]]; then
      ${name}_reply "words $REPLY"
    elif [[ $operands -eq 0 ]]; then
      ${name}_argument "$path"
      ${name}_reply "$REPLY"
    fi
  fi
}

complete -F ${name} ${[root.name, ...aliases].join(" ")}
`
}

const zshText = (text: string): string => text.replace(/[[\]:\\]/g, "\\$&")

const zsh = (root: CommandTree, aliases: ReadonlyArray<string>): string => {
  const commands = commandsOf(root)
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
      case "Text":
        return " "
    }
  }
  const specs = ({ argument, children, options }: CompletedCommand): ReadonlyArray<string> => [
    ...options.flatMap(({ description, kind, names }) =>
      names.map((option) => {
        const how = kind === undefined ? "" : option.startsWith("--") ? "=" : "+"
        const value = kind === undefined ? "" : `:value:${action(kind)}`
        return quote(`(${names.join(" ")})${option}${how}[${zshText(description)}]${value}`)
      })
    ),
    ...(children.length > 0 ? [quote("1: :->command"), quote("*:: :->rest")] : []),
    ...(argument === undefined ? [] : [quote(`1:argument:${action(argument)}`)])
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
  const globals = root.parameters().options.flatMap((option) => (option.placeholder === undefined ? [] : option.names))
  return `#compdef ${[root.name, ...aliases].join(" ")}
# zsh completion: source <(${root.name} --completions zsh), or a file _${root.name} in a folder of $fpath.

${name}_vms() {
  local -a names globals
  local i
  for ((i = 2; i < $#line_words; i++)); do
    case $line_words[i] in
      ${globals.length === 0 ? "''" : globals.join(" | ")}) globals+=($line_words[i] $line_words[i+1]) ;;
      ${globals.length === 0 ? "''" : globals.map((option) => `${option}=*`).join(" | ")}) globals+=($line_words[i]) ;;
    esac
  done
  names=(\${(M)\${(f)"$($line_words[1] ${completeVmsIn300Millis} $globals 2>/dev/null </dev/null)"}:#[a-z0-9]*})
  compadd -a names
}

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

const fishQuote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`

const fish = (root: CommandTree, aliases: ReadonlyArray<string>): string => {
  const commands = commandsOf(root)
  const name = `__${root.name}`
  const valued = Array.from(
    new Set(commands.flatMap(({ options }) => options.flatMap(({ kind, names }) => (kind === undefined ? [] : names))))
  )
  const globals = root.parameters().options.flatMap((option) => (option.placeholder === undefined ? [] : option.names))
  const action = (kind: ValueKind | undefined): string => {
    if (kind === undefined) return ""
    switch (kind._tag) {
      case "Words":
        return ` -x -a ${fishQuote(kind.words.join(" "))}`
      case "File":
        return " -r -F"
      case "Vm":
        return ` -x -a '(${name}_vms)'`
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

function ${name}_vms
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
    command $words[1] ${completeVmsIn300Millis} $globals 2>/dev/null </dev/null | string match -r '^[a-z0-9][a-z0-9-]*$'
end

complete -c ${root.name} -f
${lines.join("\n")}
${aliases.map((alias) => `complete -c ${alias} -w ${root.name}`).join("\n")}
`
}

/** A script that completes the commands, options and values of a program in a shell. */
export const completionScript = (
  shell: Shell,
  root: CommandTree,
  aliases: ReadonlyArray<string>
): ReadonlyArray<string> => ({ bash, zsh, fish })[shell](root, aliases).trimEnd().split("\n")
