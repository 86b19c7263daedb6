import * as HelpDoc from "@effect/cli/HelpDoc"
import { bare, type CommandPath, type CommandTree, plain, visibleChildren } from "./CommandTree.js"

/** The library's sentences about the type of an option, which its placeholder says already. */
const boilerplate =
  /^(A user-defined piece of text|A file|An integer|A true or false value|This setting is optional|This option can be set.*|One of the following: .*|This argument must be repeated.*)\.?$/

const paragraphs = (doc: HelpDoc.HelpDoc): ReadonlyArray<string> =>
  HelpDoc.isSequence(doc)
    ? [...paragraphs(doc.left), ...paragraphs(doc.right)]
    : HelpDoc.isEmpty(doc)
      ? []
      : [plain(doc)].filter((text) => !boilerplate.test(text))

/** Command lines by the path of the command that they show: `nexusctl vm list`. */
export type Examples = Readonly<Record<string, ReadonlyArray<string>>>

export type Entry = readonly [term: string, description: string]

const table = (title: string, entries: ReadonlyArray<Entry>): ReadonlyArray<string> => {
  const width = Math.max(...entries.map(([term]) => term.length))
  const lines = entries.map(([term, description]) => `  ${term.padEnd(width)}   ${description}`.trimEnd())
  return entries.length === 0 ? [] : [title, ...lines]
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
        ([term, description]): Entry => [
          bare(plain(HelpDoc.p(term))).replace(/ 1\+$/, "..."),
          paragraphs(description).join(" ")
        ]
      )
      found.set(header, [...(found.get(header) ?? []), ...entries])
    } else if (HelpDoc.isParagraph(part)) {
      found.set(header, [...(found.get(header) ?? []), ["", plain(part)]])
    }
  }
  visit(doc)
  return found
}

const aliasText = ({ aliases }: CommandTree): string => (aliases.length === 0 ? "" : ` (alias: ${aliases.join(", ")})`)

const leaves = (tree: CommandTree, before: string): ReadonlyArray<Entry> =>
  tree.children.length === 0
    ? [[`${before}${tree.name}`, `${descriptionOf(tree)}${aliasText(tree)}`]]
    : visibleChildren(tree).flatMap((child) => leaves(child, `${before}${tree.name} `))

/** `--output` of `-o, --output text | json` */
const longName = (term: string): string => /--[\w-]+/.exec(term)?.[0] ?? term

/** The description of each option of a command, by its long name. */
export const optionDescriptions = (tree: CommandTree): ReadonlyMap<string, string> =>
  new Map((sections(tree.help()).get("OPTIONS") ?? []).map(([term, text]) => [longName(term), text]))

/** The description of a command. */
export const descriptionOf = (tree: CommandTree): string =>
  (sections(tree.help()).get("DESCRIPTION") ?? []).map(([, text]) => text).join(" ")

/** The parts of the help of a command. */
export const commandHelp = ([root, ...below]: CommandPath, hasRootHandler: boolean) => {
  const here = below.at(-1) ?? root
  const own = sections(here.help())
  const commandWord = here === root && hasRootHandler ? "[COMMAND]" : "<COMMAND>"
  const globals = below.length === 0 ? root.usage() : "[GLOBAL OPTIONS]"
  const words = [root.name, globals, ...below.map(({ name }) => name), below.length === 0 ? "" : here.usage()]
  const usage = [...words, here.children.length === 0 ? "" : commandWord].filter((word) => word !== "").join(" ")
  const ownOptions = here === root ? [] : (own.get("OPTIONS") ?? [])
  const isOwn = ([term]: Entry) => ownOptions.some(([own]) => longName(own) === longName(term))
  return {
    description: descriptionOf(here),
    usage,
    commands: visibleChildren(here).flatMap((child) => leaves(child, "")),
    arguments: own.get("ARGUMENTS") ?? [],
    options: ownOptions,
    globals: (sections(root.help()).get("OPTIONS") ?? []).filter((entry) => !isOwn(entry))
  }
}

/** Help for a command: its usage, every argument and option with bounds and default, and examples. */
export const helpText = (
  path: CommandPath,
  footer: ReadonlyArray<Entry>,
  hasRootHandler: boolean,
  examples: ReadonlyArray<string>
): ReadonlyArray<string> => {
  const help = commandHelp(path, hasRootHandler)
  const shown: ReadonlyArray<Entry> = path.length > 1 ? [] : [["help COMMAND", "Show the help of a command"]]
  return [
    [help.description],
    ["USAGE", `  ${help.usage}`],
    table("COMMANDS", help.commands.length === 0 ? [] : [...help.commands, ...shown]),
    table("ARGUMENTS", help.arguments),
    table("OPTIONS", help.options),
    table("GLOBAL OPTIONS, anywhere on the line", [...help.globals, ...footer]),
    table(
      "EXAMPLES",
      examples.map((example) => [example, ""])
    )
  ]
    .filter((section) => section.length > 0)
    .flatMap((section, index) => (index === 0 ? section : ["", ...section]))
}
