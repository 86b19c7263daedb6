import {
  type CommandArgument,
  type CommandOption,
  type CommandPath,
  type CommandTree,
  valueKind,
  visibleChildren
} from "./CommandTree.js"
import { suggestion } from "./Suggestion.js"

/** Shells that have completions. */
const shells = ["bash", "zsh", "fish"] as const
export type Shell = (typeof shells)[number]

/** Options of every command that run no command. */
export const builtInOptions = {
  help: { names: ["--help", "-h"], placeholder: undefined, isRepeatable: true },
  version: { names: ["--version"], placeholder: undefined, isRepeatable: true },
  completions: { names: ["--completions"], placeholder: shells.join(" | "), isRepeatable: false }
} as const satisfies Readonly<Record<string, CommandOption>>

/** An option as it was given; a flag has no value. */
interface GivenOption {
  readonly option: CommandOption
  readonly value: string | undefined
}

/** A command line, read by the definitions of its commands. */
export interface CommandLine {
  readonly path: CommandPath
  readonly globals: ReadonlyArray<GivenOption>
  readonly options: ReadonlyArray<GivenOption>
  readonly arguments: ReadonlyArray<string>
  /** What is asked for instead of running a command. */
  readonly builtIn: "help" | "version" | Shell | undefined
  /** The first usage error, one line. */
  readonly problem: string | undefined
}

/** What is wrong with a path whatever the file system holds. NUL can't be in an argument of a process. */
const pathProblem = (value: string): string | undefined => {
  if (value === "") return "expected a path, got an empty value"
  return /[\r\n]/.test(value) ? "expected a path, got one with a line break" : undefined
}

const placeholderProblem = (placeholder: string, value: string): string | undefined =>
  valueKind(placeholder)._tag === "File" ? pathProblem(value) : undefined

const argumentsProblem = (
  expected: ReadonlyArray<CommandArgument>,
  given: ReadonlyArray<string>
): string | undefined => {
  const missing = expected.filter(({ isRequired }) => isRequired)[given.length]
  if (missing !== undefined) return `missing argument ${missing.placeholder}`
  if (!expected.some(({ isRepeatable }) => isRepeatable) && given.length > expected.length) {
    return `unexpected argument '${given[expected.length]}'`
  }
  for (const [index, value] of given.entries()) {
    const { placeholder } = expected[Math.min(index, expected.length - 1)] ?? { placeholder: "" }
    const problem = placeholderProblem(placeholder, value)
    if (problem !== undefined) return `argument ${placeholder}: ${problem}`
  }
  return undefined
}

/** The words of a line that may be commands or options: those after `--` are neither. */
const wordsOf = (args: ReadonlyArray<string>): ReadonlyArray<string> =>
  args.includes("--") ? args.slice(0, args.indexOf("--")) : args

/**
 * Reads a command line as getopt_long(3) does: `--name VALUE`, `--name=VALUE`, `-o VALUE`, `-oVALUE`, `-yo VALUE`, and also
 * `-o=VALUE`; arguments only after `--`. Global options may stand anywhere, a command's own after its name.
 */
export const parseCommandLine = (
  root: CommandTree,
  args: ReadonlyArray<string>,
  hasRootHandler: boolean
): CommandLine => {
  const path: [CommandTree, ...Array<CommandTree>] = [root]
  const { options: globalOptions } = root.parameters()
  const everywhere = [...globalOptions, ...Object.values(builtInOptions)]
  let here = root
  let { arguments: expected, options: own } = { arguments: root.parameters().arguments, options: everywhere }
  const given: Array<GivenOption> = []
  const positionals: Array<string> = []
  let problem: string | undefined
  let isUnknownCommand = false

  const report = (text: string | undefined): void => {
    problem ??= text
  }
  const find = (name: string) => own.find(({ names }) => names.includes(name))
  const unknownOption = (name: string): void => {
    const isBelow = (tree: CommandTree): boolean =>
      tree.children.some(
        (child) => child.parameters().options.some(({ names }) => names.includes(name)) || isBelow(child)
      )
    const names = own.flatMap(({ names }) => names)
    // One letter is near to every other: it suggests the long option that begins with it.
    const near = /^-\w$/.test(name)
      ? suggestion(
          `-${name}`,
          names.filter((long) => long.startsWith(`-${name}`))
        )
      : suggestion(name, names)
    report(isBelow(here) ? `option '${name}' goes after the command that it is for` : `unknown option '${name}'${near}`)
  }
  const giveOption = (option: CommandOption, value: string | undefined): void => {
    const [name] = option.names
    if (option.placeholder !== undefined) {
      if (value === undefined) report(`option ${name} needs a value: ${option.placeholder}`)
      else {
        const wrong = placeholderProblem(option.placeholder, value)
        report(wrong && `option ${name}: ${wrong}`)
      }
      if (!option.isRepeatable && given.some((other) => other.option === option)) {
        report(`option ${name} takes one value, and can be given once`)
      }
    } else if (value !== undefined) report(`option ${name} takes no value`)
    given.push({ option, value })
  }
  /** The next word, unless it is an option itself. */
  const valueAfter = (index: number): string | undefined => {
    const word = args[index + 1]
    if (word === undefined || word === "--") return undefined
    return word.startsWith("-") && find(word.replace(/=.*/s, "")) !== undefined ? undefined : word
  }

  let index = 0
  for (; index < args.length && args[index] !== "--"; index++) {
    const word = args[index] ?? ""
    if (/^--./.test(word)) {
      const [name = "", ...rest] = word.split("=")
      const option = find(name)
      if (option === undefined) unknownOption(name)
      else if (rest.length > 0 || option.placeholder === undefined)
        giveOption(option, rest.length > 0 ? rest.join("=") : undefined)
      else {
        const value = valueAfter(index)
        giveOption(option, value)
        if (value !== undefined) index++
      }
    } else if (/^-./.test(word)) {
      for (let letters = word.slice(1); letters !== ""; ) {
        const name = `-${String.fromCodePoint(letters.codePointAt(0) ?? 0)}`
        const option = find(name)
        letters = letters.slice(name.length - 1)
        if (option === undefined) {
          unknownOption(letters === "" ? name : word)
          break
        }
        if (option.placeholder === undefined && !letters.startsWith("=")) {
          giveOption(option, undefined)
          continue
        }
        const value = letters === "" ? valueAfter(index) : letters.replace(/^=/, "")
        giveOption(option, value)
        if (letters === "" && value !== undefined) index++
        break
      }
    } else if (here.children.length > 0 && !isUnknownCommand) {
      const next = here.children.find(({ name }) => name === word)
      if (next === undefined) {
        isUnknownCommand = true
        const names = visibleChildren(here).map(({ name }) => name)
        report(`unknown command '${word}': expected one of ${names.join(", ")}${suggestion(word, names)}`)
        continue
      }
      path.push(next)
      here = next
      const parameters = next.parameters()
      expected = parameters.arguments
      own = [...parameters.options, ...everywhere]
    } else positionals.push(word)
  }
  positionals.push(...args.slice(index + 1))

  const words = wordsOf(args)
  const asksFor = ({ names }: CommandOption) => words.some((word) => names.includes(word))
  const completions = given.find(({ option }) => option === builtInOptions.completions)?.value
  const shell = shells.find((name) => name === completions)
  if (completions !== undefined && shell === undefined) {
    const expectedShells = `expected one of ${shells.join(", ")}, got '${completions}'`
    report(`option --completions: ${expectedShells}${suggestion(completions, shells)}`)
  }
  const isCommandMissing = here.children.length > 0 && !(hasRootHandler && path.length === 1)
  if (isCommandMissing && shell === undefined) {
    const names = visibleChildren(here).map(({ name }) => name)
    report(`missing command: expected one of ${names.join(", ")}`)
  }
  if (!isUnknownCommand && shell === undefined) report(argumentsProblem(expected, positionals))

  const isGlobal = ({ option }: GivenOption) => globalOptions.includes(option)
  const isBuiltIn = ({ option }: GivenOption) => Object.values(builtInOptions).some((builtIn) => builtIn === option)
  return {
    path,
    globals: given.filter(isGlobal),
    options: given.filter((option) => !isGlobal(option) && !isBuiltIn(option)),
    arguments: positionals,
    builtIn: asksFor(builtInOptions.help) ? "help" : asksFor(builtInOptions.version) ? "version" : shell,
    problem
  }
}

/**
 * A read command line as @effect/cli takes it: global options, commands, their options, arguments. A value that could be
 * mistaken for a command or for `--` is in one word with its option; the library's RegExp for those has no line breaks.
 */
export const libraryArguments = ({
  arguments: positionals,
  globals,
  options,
  path
}: CommandLine): ReadonlyArray<string> => {
  const words = ({ option: { names }, value }: GivenOption): ReadonlyArray<string> => {
    if (value === undefined) return [names[0]]
    return /^\S(.*\S)?$/.test(value) ? [`${names[0]}=${value}`] : [names[0], value]
  }
  return [
    ...globals.flatMap(words),
    ...path.slice(1).map(({ name }) => name),
    ...options.flatMap(words),
    ...(positionals.length === 0 ? [] : ["--", ...positionals])
  ]
}
