import { builtInOptions } from "../CommandLine.js"
import { type CommandOption, type CommandTree, type ValueKind, valueKind, visibleChildren } from "../CommandTree.js"
import { descriptionOf, optionDescriptions } from "../HelpText.js"

/** The hidden command that prints the names of VMs. Its argument is its time limit in milliseconds. */
export const completeVms = "complete-vms"
export const completeVmsIn300Millis = `${completeVms} 300`

/** The hidden command that prints the names of contexts. */
export const completeContexts = "complete-contexts"

interface CompletedOption extends CommandOption {
  readonly description: string
  readonly kind: ValueKind | undefined
}

/** A command as a shell completes it. */
export interface CompletedCommand {
  /** `nexusctl vm list`. */
  readonly path: string
  readonly children: ReadonlyArray<{ readonly name: string; readonly description: string }>
  readonly options: ReadonlyArray<CompletedOption>
  readonly argument: ValueKind | undefined
  readonly isArgumentRepeatable: boolean
}

const builtInDescriptions = new Map([
  ["--help", "Show help"],
  ["--version", "Show the version"],
  ["--completions", "Print completions for a shell"]
])

const kindOf = (placeholder: string | undefined) => (placeholder === undefined ? undefined : valueKind(placeholder))

/** Every visible command of a program. */
export const completedCommands = (root: CommandTree): ReadonlyArray<CompletedCommand> => {
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
    const [argument] = tree.parameters().arguments
    const own = tree === root ? [] : optionsOf(tree)
    const ownNames = own.flatMap(({ names }) => names)
    return [
      {
        path,
        children: visibleChildren(tree).map((child) => ({ name: child.name, description: descriptionOf(child) })),
        options: [...own, ...everywhere.filter(({ names }) => !names.some((name) => ownNames.includes(name)))],
        argument: kindOf(argument?.placeholder),
        isArgumentRepeatable: argument?.isRepeatable ?? false
      },
      ...visibleChildren(tree).flatMap((child) => visit(child, `${path} `))
    ]
  }
  return visit(root, "")
}

const optionNamesBelow = ({ children }: CommandTree): ReadonlyArray<string> =>
  children.flatMap((child) => [...child.parameters().options.flatMap(({ names }) => names), ...optionNamesBelow(child)])

/**
 * The global options that take a value: `complete-vms` gets them as they stand on the line. Without those that mean
 * something else after some command, such as `--timeout` after `vm stop`.
 */
export const valuedGlobals = (root: CommandTree): ReadonlyArray<string> => {
  const below = optionNamesBelow(root)
  return root
    .parameters()
    .options.flatMap(({ names, placeholder }) => (placeholder === undefined ? [] : names))
    .filter((name) => !below.includes(name))
}
