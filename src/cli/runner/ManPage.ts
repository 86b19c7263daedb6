import { type CommandPath, type CommandTree, pathText, visibleChildren } from "./CommandTree.js"
import { commandHelp, type Entry, type Examples } from "./HelpText.js"
import { footer } from "./Program.js"

/** A text for troff: groff_man(7), "Portability", and groff(7), "Escape sequences". */
const escape = (text: string): string =>
  text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^([.'])/gm, "\\&$1")

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : [`.SH ${title}`, ...lines]

const entries = (list: ReadonlyArray<Entry>): ReadonlyArray<string> =>
  list.flatMap(([term, description]) => [".TP", `\\fB${escape(term)}\\fR`, escape(description)])

const exampleLines = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : [".PP", "Examples:", ".PP", ".nf", ".RS", ...lines.map(escape), ".RE", ".fi"]

const leafPaths = (path: CommandPath): ReadonlyArray<CommandPath> => {
  const children = visibleChildren(path.at(-1) ?? path[0])
  return children.length === 0 ? [path] : children.flatMap((child) => leafPaths([...path, child]))
}

/** What the man page says beyond the commands. */
export interface ManPage {
  readonly version: string
  readonly examples: Examples
  /** `FILES`, `EXIT STATUS` and others. */
  readonly sections: Readonly<Record<string, ReadonlyArray<Entry>>>
}

/** The man page of a program, in troff, from the definitions of its commands. */
export const manPage = (root: CommandTree, { examples, sections, version }: ManPage): string => {
  const { description, globals, usage } = commandHelp([root], false)
  const commands = leafPaths([root]).flatMap((path) => {
    const help = commandHelp(path, false)
    const [, ...below] = path
    const aliases = path.at(-1)?.aliases ?? []
    return [
      `.SS ${escape(pathText(path))}`,
      escape(`${help.description}.${aliases.length === 0 ? "" : ` Alias: ${aliases.join(", ")}.`}`),
      ".PP",
      escape(help.usage.slice(help.usage.indexOf(below.map(({ name }) => name).join(" ")))),
      ...entries([...help.arguments, ...help.options]),
      ...exampleLines(examples[pathText(path)] ?? [])
    ]
  })
  const lines = [
    `.TH ${root.name.toUpperCase()} 1 "" "Nexus ${version}"`,
    ...section("NAME", [`${root.name} \\- ${escape(description)}`]),
    ...section("SYNOPSIS", [escape(usage)]),
    ...section("COMMANDS", commands),
    ...section("GLOBAL OPTIONS", ["They are allowed anywhere on the line.", ...entries([...globals, ...footer])]),
    ...Object.entries(sections).flatMap(([title, list]) => section(title, entries(list))),
    ...section("EXAMPLES", exampleLines(examples[root.name] ?? []).slice(2))
  ]
  return `${lines.join("\n")}\n`
}
