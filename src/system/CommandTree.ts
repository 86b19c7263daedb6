import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Usage from "@effect/cli/Usage"

/** A command as the help shows it, with the commands below it. */
export interface CommandTree {
  readonly name: string
  /** Its options and arguments, such as `[--vcpu N] <NAME>`; made when asked for, which most runs never do. */
  readonly usage: () => string
  readonly help: () => HelpDoc.HelpDoc
  readonly children: ReadonlyArray<CommandTree>
}

/** Where a command line leads: the commands from the root on, and the first word that names none. */
export interface Place {
  readonly path: readonly [CommandTree, ...Array<CommandTree>]
  readonly unknown: string | undefined
}

/** Words mean what is written; the library's own options are left out of the help. */
export const cliConfig = CliConfig.make({ isCaseSensitive: true, showBuiltIns: false })

// biome-ignore lint/suspicious/noControlCharactersInRegex: ESC is what a colour code begins with
const colours = /\u001b\[[0-9;]*m/g

/** A document of the library as text: it puts colours in whatever the output is. */
export const plain = (doc: HelpDoc.HelpDoc): string => HelpDoc.toAnsiText(doc).replace(colours, "").trim()

/** An option of several names, which the library puts in parentheses. */
const bare = (term: string): string => term.replace(/\((-[^()]*)\)/g, "$1")

/** Describes a command and the commands below it, for help and for error messages. */
export const commandTree = <Name extends string, R, E, A>(
  name: Name,
  command: Command.Command<Name, R, E, A>,
  children: ReadonlyArray<CommandTree> = []
): CommandTree => ({
  name,
  usage: () =>
    Usage.enumerate(Command.getUsage(command), cliConfig)
      .map((span) => bare(plain(HelpDoc.p(span))))
      .join(" ")
      .slice(name.length)
      .trim(),
  help: () => Command.getHelp(command, cliConfig),
  children
})

/** Follows the words of a command line, leaving options out, as far as they name commands. */
export const locate = (root: CommandTree, args: ReadonlyArray<string>): Place => {
  const path: [CommandTree, ...Array<CommandTree>] = [root]
  let here = root
  for (const word of args) {
    if (here.children.length === 0) break
    if (word.startsWith("-")) continue
    const next = here.children.find(({ name }) => name === word)
    if (next === undefined) return { path, unknown: word }
    path.push(next)
    here = next
  }
  return { path, unknown: undefined }
}

/** What the library says of every option, which says nothing of this one. */
const boilerplate =
  /^(A user-defined piece of text|A file|An integer|A true or false value|This setting is optional|This option can be set.*|One of the following: .*)\.?$/

const paragraphs = (doc: HelpDoc.HelpDoc): ReadonlyArray<string> =>
  HelpDoc.isSequence(doc)
    ? [...paragraphs(doc.left), ...paragraphs(doc.right)]
    : HelpDoc.isEmpty(doc)
      ? []
      : [plain(doc)].filter((text) => !boilerplate.test(text))

type Entry = readonly [term: string, description: string]

const table = (title: string, entries: ReadonlyArray<Entry>): string => {
  const width = Math.max(...entries.map(([term]) => term.length))
  const lines = entries.map(([term, description]) => `  ${term.padEnd(width)}   ${description}`.trimEnd())
  return entries.length === 0 ? "" : [title, ...lines].join("\n")
}

/** The entries of a document's definition lists, by the header above each. */
const sections = (doc: HelpDoc.HelpDoc): ReadonlyMap<string, ReadonlyArray<Entry>> => {
  const found = new Map<string, Array<Entry>>()
  let header = ""
  const visit = (part: HelpDoc.HelpDoc): void => {
    if (HelpDoc.isSequence(part)) {
      visit(part.left)
      visit(part.right)
    } else if (HelpDoc.isHeader(part)) {
      header = plain(part)
    } else if (HelpDoc.isDescriptionList(part)) {
      const entries = part.definitions.map(
        ([term, description]): Entry => [bare(plain(HelpDoc.p(term))), paragraphs(description).join(" ")]
      )
      found.set(header, [...(found.get(header) ?? []), ...entries])
    } else if (HelpDoc.isParagraph(part)) {
      found.set(header, [...(found.get(header) ?? []), ["", plain(part)]])
    }
  }
  visit(doc)
  return found
}

const leaves = (tree: CommandTree, before: string): ReadonlyArray<Entry> =>
  tree.children.length === 0
    ? [[`${before}${tree.name}`, descriptionOf(tree)]]
    : tree.children.flatMap((child) => leaves(child, `${before}${tree.name} `))

const descriptionOf = (tree: CommandTree): string =>
  (sections(tree.help()).get("DESCRIPTION") ?? []).map(([, text]) => text).join(" ")

/** The words that lead to a place, as one types them. */
export const commandLine = ({ path }: Place): string => path.map(({ name }) => name).join(" ")

/** Help for a place: the whole command line, then every argument and option with its bounds and default. */
export const helpText = (place: Place, footer: ReadonlyArray<Entry>, runsAlone: boolean): string => {
  const [root, ...below] = place.path
  const here = below.at(-1) ?? root
  const own = sections(here.help())
  const commandWord = here === root && runsAlone ? "[COMMAND]" : "<COMMAND>"
  const words = [root.name, root.usage(), ...below.map(({ name }) => name), below.length === 0 ? "" : here.usage()]
  const usage = [...words, here.children.length === 0 ? "" : commandWord].filter((word) => word !== "").join(" ")
  const global = [...(sections(root.help()).get("OPTIONS") ?? []), ...footer]
  return [
    descriptionOf(here),
    `USAGE\n  ${usage}`,
    table(
      "COMMANDS",
      here.children.flatMap((child) => leaves(child, ""))
    ),
    table("ARGUMENTS", own.get("ARGUMENTS") ?? []),
    table("OPTIONS", here === root ? [] : (own.get("OPTIONS") ?? [])),
    table(root.children.length === 0 ? "OPTIONS" : "GLOBAL OPTIONS, anywhere on the line", global)
  ]
    .filter((section) => section !== "")
    .join("\n\n")
}
