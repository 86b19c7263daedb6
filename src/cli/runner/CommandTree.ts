import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Usage from "@effect/cli/Usage"
import * as Option from "effect/Option"

/** An option of a command. */
export interface CommandOption {
  /** `--output`, `-o`: the long name first. */
  readonly names: readonly [string, ...Array<string>]
  /** Stands for the value in the help, such as `PATH` or `text | json`; a flag has none. */
  readonly placeholder: string | undefined
  readonly isRepeatable: boolean
}

/** An argument of a command. */
export interface CommandArgument {
  readonly placeholder: string
  readonly isRequired: boolean
  readonly isRepeatable: boolean
}

/** A command and the commands below it, for parsing, help, error messages and completions. */
export interface CommandTree {
  readonly name: string
  /** Shorter names, as `ls` of `list`. */
  readonly aliases: ReadonlyArray<string>
  readonly parameters: () => {
    readonly options: ReadonlyArray<CommandOption>
    readonly arguments: ReadonlyArray<CommandArgument>
  }
  /** `[--vcpu N] <NAME>`. A function, since most runs do not need it. */
  readonly usage: () => string
  readonly help: () => HelpDoc.HelpDoc
  readonly children: ReadonlyArray<CommandTree>
  /** Left out of help, suggestions and completions: a command for programs. */
  readonly isHidden: boolean
}

/** The commands below a command that are not hidden. */
export const visibleChildren = ({ children }: CommandTree): ReadonlyArray<CommandTree> =>
  children.filter(({ isHidden }) => !isHidden)

/** The kind of value that a placeholder stands for: `text | json` are words, `PATH` is a file. */
export type ValueKind =
  | { readonly _tag: "Words"; readonly words: ReadonlyArray<string> }
  | { readonly _tag: "File" | "Vm" | "Context" | "Text" }

/** Derived from the placeholder in the help, so that a new option has completions without more code. */
export const valueKind = (placeholder: string): ValueKind => {
  const words = placeholder.split(" | ")
  if (words.length > 1) return { _tag: "Words", words }
  if (/^(PATH|FILE)\b/.test(placeholder)) return { _tag: "File" }
  if (placeholder === "CONTEXT") return { _tag: "Context" }
  return { _tag: placeholder === "NAME|ID" ? "Vm" : "Text" }
}

/** Case-sensitive; the help does not show the built-in options of @effect/cli. */
export const cliConfig = CliConfig.make({ isCaseSensitive: true, showBuiltIns: false })

// biome-ignore lint/suspicious/noControlCharactersInRegex: ESC is what a colour code begins with
const colours = /\u001b\[[0-9;]*m/g

/** A document of @effect/cli as text. The library adds colours even when stdout is no terminal. */
export const plain = (doc: HelpDoc.HelpDoc): string => HelpDoc.toAnsiText(doc).replace(colours, "").trim()

/** Removes the parentheses around an option with several names. */
export const bare = (term: string): string => term.replace(/\((-[^()]*)\)/g, "$1")

const isNonEmpty = <A>(list: ReadonlyArray<A>): list is readonly [A, ...Array<A>] => list.length > 0

/** The named parts of a usage, in order: the command, options (`--name`) and arguments (`<NAME>`). */
const namedParts = (
  usage: Usage.Usage,
  isRequired = true,
  isRepeatable = false
): ReadonlyArray<{ readonly part: Usage.Named; readonly isRequired: boolean; readonly isRepeatable: boolean }> => {
  switch (usage._tag) {
    case "Empty":
    case "Mixed":
      return []
    case "Named":
      return [{ part: usage, isRequired, isRepeatable }]
    case "Optional":
      return namedParts(usage.usage, false, isRepeatable)
    case "Repeated":
      return namedParts(usage.usage, isRequired, true)
    case "Alternation":
      return [...namedParts(usage.left, false, isRepeatable), ...namedParts(usage.right, false, isRepeatable)]
    case "Concat":
      return [...namedParts(usage.left, isRequired, isRepeatable), ...namedParts(usage.right, isRequired, isRepeatable)]
  }
}

const parametersOf = (usage: Usage.Usage): ReturnType<CommandTree["parameters"]> => {
  const parts = namedParts(usage)
  return {
    options: parts.flatMap(({ isRepeatable, part }) => {
      const names = part.names.filter((name) => name.startsWith("-")).sort((a, b) => b.length - a.length)
      return isNonEmpty(names) ? [{ names, placeholder: Option.getOrUndefined(part.acceptedValues), isRepeatable }] : []
    }),
    arguments: parts.flatMap(({ isRepeatable, isRequired, part }) => {
      const placeholder = /^<(.+)>$/.exec(part.names[0] ?? "")?.[1]
      return placeholder === undefined ? [] : [{ placeholder, isRequired, isRepeatable }]
    })
  }
}

type LibraryCommands = Parameters<typeof Command.withSubcommands>[1]

/** What command lines, help, error messages and completions need to know of a command. */
interface Described {
  readonly tree: CommandTree
}

const describe = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  children: ReadonlyArray<CommandTree>
): CommandTree => {
  const [name = ""] = Command.getNames(command)
  return {
    name,
    aliases: [],
    parameters: () => parametersOf(Command.getUsage(command)),
    usage: () =>
      Usage.enumerate(Command.getUsage(command), cliConfig)
        .map((span) => bare(plain(HelpDoc.p(span))))
        .join(" ")
        .slice(name.length)
        .trim(),
    help: () => Command.getHelp(command, cliConfig),
    children,
    isHidden: false
  }
}

const treeOf = (command: LibraryCommands[number] | (LibraryCommands[number] & Described)): CommandTree =>
  "tree" in command ? command.tree : describe(command, [])

/**
 * Adds commands below a command, in the parser of @effect/cli and in `tree`. The last step of a pipe: what a later one
 * returns has no `tree`.
 */
export const withSubcommands =
  <const Commands extends LibraryCommands>(commands: Commands) =>
  <Name extends string, R, E, A>(parent: Command.Command<Name, R, E, A>) => {
    const command = Command.withSubcommands(parent, commands)
    return Object.assign(command, { tree: describe(command, commands.map(treeOf)) })
  }

/** A command that help, suggestions and completions leave out. The last step of a pipe, as `withSubcommands`. */
export const hidden = <Name extends string, R, E, A>(command: Command.Command<Name, R, E, A>) =>
  Object.assign(command, { tree: { ...describe(command, []), isHidden: true } })

/** A command with shorter names. The last step of a pipe, as `withSubcommands`. */
export const withAliases =
  (...aliases: ReadonlyArray<string>) =>
  <Name extends string, R, E, A>(command: Command.Command<Name, R, E, A>) =>
    Object.assign(command, { tree: { ...describe(command, []), aliases } })

/** The commands that a command line names, from the root on. */
export type CommandPath = readonly [CommandTree, ...Array<CommandTree>]

/** `nexusctl vm list` */
export const pathText = (path: CommandPath): string => path.map(({ name }) => name).join(" ")
