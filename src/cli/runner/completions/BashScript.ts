import type { CommandTree, ValueKind } from "../CommandTree.js"
import { quote } from "../ShellWord.js"
import { completeContexts, completedCommands, completeVmsIn300Millis, valuedGlobals } from "./CompletedCommand.js"

/** A kind of value as the script names it: `words a b`, `files`, `vms`, `contexts`, `text`. */
const kindWord = (kind: ValueKind): string => {
  switch (kind._tag) {
    case "Words":
      return `words ${kind.words.join(" ")}`
    case "File":
      return "files"
    case "Vm":
      return "vms"
    case "Context":
      return "contexts"
    case "Text":
      return "text"
  }
}

/** Branches of `case`; patterns with the same outcome share one. */
const branches = (cases: ReadonlyArray<readonly [pattern: string, outcome: string]>, indent: string): string => {
  const outcomes = new Map<string, Array<string>>()
  for (const [pattern, outcome] of cases) outcomes.set(outcome, [...(outcomes.get(outcome) ?? []), pattern])
  return Array.from(outcomes, ([outcome, patterns]) => `${indent}${patterns.join(" | ")}) ${outcome} ;;`).join("\n")
}

/** The completion script for bash. */
export const bashScript = (root: CommandTree, aliases: ReadonlyArray<string>): string => {
  const commands = completedCommands(root)
  const name = `_${root.name}`
  const globals = valuedGlobals(root)
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
  const operands = commands.flatMap(({ argument, isArgumentRepeatable, path }) =>
    argument === undefined
      ? []
      : [[quote(path), `${quote(kindWord(argument))}${isArgumentRepeatable ? " repeats=1" : ""}`] as const]
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

# What the argument of a command is, and whether there may be several.
${name}_argument() {
  REPLY=
  repeats=
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
    vms | contexts)
      local -a names=(${completeVmsIn300Millis})
      [[ $1 == contexts ]] && names=(${completeContexts})
      while IFS= read -r word; do
        [[ $word =~ ^[A-Za-z0-9._-]+$ && $word == "$cur"* ]] && COMPREPLY+=("$word")
      done < <("\${COMP_WORDS[0]}" "\${names[@]}" "\${globals[@]}" 2>/dev/null </dev/null)
      ;;
  esac
}

${name}() {
  local cur word path=${quote(root.name)} expects= option= REPLY= repeats= rest= operands=0 i
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
    else
      ${name}_argument "$path"
      if [[ $operands -eq 0 || -n $repeats ]]; then
        ${name}_reply "$REPLY"
      fi
    fi
  fi
}

complete -F ${name} ${[root.name, ...aliases].join(" ")}
`
}
