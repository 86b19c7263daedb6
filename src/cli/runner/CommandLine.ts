import {
  type CommandArgument,
  type CommandOption,
  type CommandPath,
  type CommandTree,
  valueKind,
  visibleChildren
} from "./CommandTree.js"
import { suggestion } from "./Suggestion.js"

/** Shells with a completion script. */
const shells = ["bash", "zsh", "fish"] as const
export type Shell = (typeof shells)[number]

/** Options of every command that print a text and run no command. */
export const builtInOptions = {
  help: { names: ["--help", "-h"], placeholder: undefined, isRepeatable: true },
  version: { names: ["--version"], placeholder: undefined, isRepeatable: true },
  completions: { names: ["--completions"], placeholder: shells.join(" | "), isRepeatable: false }
} as const satisfies Readonly<Record<string, CommandOption>>

/** The word before a command that shows its help, as `--help` after it does. */
const helpCommand = "help"

/** An option as it was given; a flag has no value. */
interface GivenOption {
  readonly option: CommandOption
  readonly value: string | undefined
}

/** A parsed command line. */
export interface CommandLine {
  readonly path: CommandPath
  readonly globals: ReadonlyArray<GivenOption>
  readonly options: ReadonlyArray<GivenOption>
  readonly arguments: ReadonlyArray<string>
  /** The text to print instead of running the command. */
  readonly builtIn: "help" | "version" | Shell | undefined
  /** The first usage error, one line. */
  readonly problem: string | undefined
}

/** The problem of a path that no file can have. An argument of a process can't hold NUL. */
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

/** The words before `--`. */
const wordsBeforeDashes = (args: ReadonlyArray<string>): ReadonlyArray<string> =>
  args.includes("--") ? args.slice(0, args.indexOf("--")) : args

const hasOption = (tree: CommandTree, name: string): boolean =>
  tree.parameters().options.some(({ names }) => names.includes(name))

const isOptionBelow = (tree: CommandTree, name: string): boolean =>
  tree.children.some((child) => hasOption(child, name) || isOptionBelow(child, name))

const visibleNames = (tree: CommandTree): ReadonlyArray<string> => visibleChildren(tree).map(({ name }) => name)

/** Reads the words of a command line from left to right, and keeps the first problem. */
class Parser {
  readonly globalOptions: ReadonlyArray<CommandOption>
  readonly path: [CommandTree, ...Array<CommandTree>]
  readonly given: Array<GivenOption> = []
  readonly positionals: Array<string> = []
  problem: string | undefined
  /** `help vm list` */
  isHelpCommand = false
  private isCommandUnknown = false
  private command: CommandTree
  private expected: ReadonlyArray<CommandArgument>
  private options: ReadonlyArray<CommandOption>
  private next = 0

  constructor(
    root: CommandTree,
    private readonly args: ReadonlyArray<string>
  ) {
    const { arguments: expected, options } = root.parameters()
    this.path = [root]
    this.command = root
    this.expected = expected
    this.globalOptions = options
    this.options = [...Object.values(builtInOptions), ...options]
  }

  readLine(): void {
    while (this.next < this.args.length) {
      const word = this.args[this.next++] ?? ""
      if (word === "--") {
        this.positionals.push(...this.args.slice(this.next))
        return
      }
      if (/^--./.test(word)) this.readLongOption(word)
      else if (/^-./.test(word)) this.readShortOptions(word)
      else if (this.command.children.length > 0 && !this.isCommandUnknown) this.readCommand(word)
      else this.positionals.push(word)
    }
  }

  report(problem: string | undefined): void {
    this.problem ??= problem
  }

  reportMissingCommand(): void {
    if (this.command.children.length === 0) return
    this.report(`missing command: expected one of ${visibleNames(this.command).join(", ")}`)
  }

  reportArguments(): void {
    if (!this.isCommandUnknown) this.report(argumentsProblem(this.expected, this.positionals))
  }

  /** `list` */
  private readCommand(word: string): void {
    const { children } = this.command
    const command = children.find(({ aliases, name }) => name === word || aliases.includes(word))
    if (command === undefined) {
      if (word === helpCommand && this.path.length === 1 && !this.isHelpCommand) {
        this.isHelpCommand = true
        return
      }
      this.isCommandUnknown = true
      const names = visibleNames(this.command)
      const near = suggestion(word, [...names, ...visibleChildren(this.command).flatMap(({ aliases }) => aliases)])
      this.report(`unknown command '${word}': expected one of ${names.join(", ")}${near}`)
      return
    }
    const { arguments: expected, options } = command.parameters()
    this.path.push(command)
    this.command = command
    this.expected = expected
    this.options = [...Object.values(builtInOptions), ...options, ...this.globalOptions]
  }

  /** `--role work`, `--role=work`, `--yes` */
  private readLongOption(word: string): void {
    const [name = "", ...rest] = word.split("=")
    const option = this.findOption(name)
    if (option === undefined) this.reportUnknownOption(name)
    else if (rest.length > 0) this.giveOption(option, rest.join("="))
    else this.giveOption(option, option.placeholder === undefined ? undefined : this.takeValue())
  }

  /** `-o json`, `-ojson`, `-o=json`, `-y`, `-yojson` */
  private readShortOptions(word: string): void {
    let letters = word.slice(1)
    while (letters !== "") {
      const name = `-${String.fromCodePoint(letters.codePointAt(0) ?? 0)}`
      const option = this.findOption(name)
      letters = letters.slice(name.length - 1)
      if (option === undefined) {
        this.reportUnknownOption(letters === "" ? name : word)
        return
      }
      if (option.placeholder !== undefined || letters.startsWith("=")) {
        this.giveOption(option, letters === "" ? this.takeValue() : letters.replace(/^=/, ""))
        return
      }
      this.giveOption(option, undefined)
    }
  }

  /** Takes the next word, unless it is an option or `--`. */
  private takeValue(): string | undefined {
    const word = this.args[this.next]
    if (word === undefined || word === "--") return undefined
    if (word.startsWith("-") && this.findOption(word.replace(/=.*/s, "")) !== undefined) return undefined
    this.next++
    return word
  }

  private giveOption(option: CommandOption, value: string | undefined): void {
    const [name] = option.names
    if (option.placeholder === undefined) {
      if (value !== undefined) this.report(`option ${name} takes no value`)
    } else {
      if (value === undefined) this.report(`option ${name} needs a value: ${option.placeholder}`)
      else {
        const problem = placeholderProblem(option.placeholder, value)
        this.report(problem && `option ${name}: ${problem}`)
      }
      if (!option.isRepeatable && this.given.some((other) => other.option === option)) {
        this.report(`option ${name} takes one value, and can be given once`)
      }
    }
    this.given.push({ option, value })
  }

  private findOption(name: string): CommandOption | undefined {
    return this.options.find(({ names }) => names.includes(name))
  }

  private reportUnknownOption(name: string): void {
    if (isOptionBelow(this.command, name)) {
      this.report(`option '${name}' goes after the command that it is for`)
      return
    }
    const names = this.options.flatMap(({ names }) => names)
    // Every letter is one edit from every other: a letter suggests only long options that begin with it.
    const near = /^-\w$/.test(name)
      ? suggestion(
          `-${name}`,
          names.filter((long) => long.startsWith(`-${name}`))
        )
      : suggestion(name, names)
    this.report(`unknown option '${name}'${near}`)
  }
}

/**
 * Parses a command line as getopt_long(3) does: `--name VALUE`, `--name=VALUE`, `-o VALUE`, `-oVALUE`, `-yo VALUE`, and also
 * `-o=VALUE`; only arguments after `--`. Global options may stand anywhere, a command's own after its name.
 */
export const parseCommandLine = (
  root: CommandTree,
  args: ReadonlyArray<string>,
  hasRootHandler: boolean
): CommandLine => {
  const parser = new Parser(root, args)
  parser.readLine()
  const { given, globalOptions, path, positionals } = parser

  const completions = given.find(({ option }) => option === builtInOptions.completions)?.value
  const shell = shells.find((name) => name === completions)
  if (completions !== undefined && shell === undefined) {
    const expected = `expected one of ${shells.join(", ")}, got '${completions}'`
    parser.report(`option --completions: ${expected}${suggestion(completions, shells)}`)
  }
  if (parser.isHelpCommand) {
    const [unexpected] = positionals
    parser.report(unexpected && `unexpected argument '${unexpected}'`)
  } else if (shell === undefined) {
    if (!(hasRootHandler && path.length === 1)) parser.reportMissingCommand()
    parser.reportArguments()
  }

  // These two win over a usage error, also where they stand for the value of an option.
  const words = wordsBeforeDashes(args)
  const isAskedFor = ({ names }: CommandOption) => words.some((word) => names.includes(word))
  const isHelp = isAskedFor(builtInOptions.help) || (parser.isHelpCommand && parser.problem === undefined)
  const builtIn = isHelp ? "help" : isAskedFor(builtInOptions.version) ? "version" : shell
  const isGlobal = ({ option }: GivenOption) => globalOptions.includes(option)
  const isBuiltIn = ({ option }: GivenOption) => Object.values(builtInOptions).some((builtIn) => builtIn === option)
  return {
    path,
    globals: given.filter(isGlobal),
    options: given.filter((option) => !isGlobal(option) && !isBuiltIn(option)),
    arguments: positionals,
    builtIn,
    problem: parser.problem
  }
}

/**
 * The words of a parsed line for @effect/cli: global options, commands, their options, arguments. A value is in one word
 * with its option, so that it is no command and no `--`; the library's RegExp for such words matches no line break.
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
