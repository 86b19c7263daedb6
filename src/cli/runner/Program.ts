import type * as CliApp from "@effect/cli/CliApp"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Terminal from "@effect/platform/Terminal"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { version } from "../../domain/Version.js"
import { ColourMode, colourModes } from "../../runtime/Colour.js"
import { ExitCode } from "../../runtime/ExitCode.js"
import { mapStackTraces } from "../../runtime/SourceMaps.js"
import { flushStderr, printErrorLines, printLines } from "../../runtime/StandardStreams.js"
import { builtInOptions, type CommandLine, libraryArguments, parseCommandLine } from "./CommandLine.js"
import {
  type CommandOption,
  type CommandPath,
  type CommandTree,
  cliConfig,
  pathText,
  plain,
  valueKind
} from "./CommandTree.js"
import { completionScript } from "./completions/Completions.js"
import { type Failure, FailureFormat, reportFailure } from "./Failure.js"
import { type Examples, helpText } from "./HelpText.js"
import { suggestion } from "./Suggestion.js"

/** A program: its root command and how its failures are reported. */
export interface Program<Name extends string, E, A> {
  readonly name: Name
  /** Other names in `bin` of package.json. */
  readonly aliases: ReadonlyArray<string>
  readonly command: Command.Command<Name, CliApp.CliApp.Environment, E, A>
  /** The same commands, for parsing the line and for help. The root's options are global. */
  readonly tree: CommandTree
  /** Whether the root command runs by itself. It then runs until it is interrupted. */
  readonly hasRootHandler: boolean
  /** Command lines to show in the help of each command, by its path: `nexusctl vm list`. */
  readonly examples: Examples
  readonly failure: (error: E) => Failure
}

const noPrompts = Effect.dieMessage("no command prompts")

/**
 * The services that @effect/cli requires. It uses the terminal only for prompts, which no command has. `NodeContext` would
 * open stdin and load modules for workers and child processes at every start.
 */
const environment = Layer.mergeAll(
  NodeFileSystem.layer,
  NodePath.layer,
  Layer.succeed(Terminal.Terminal, {
    columns: noPrompts,
    rows: noPrompts,
    isTTY: noPrompts,
    readInput: noPrompts,
    readLine: noPrompts,
    display: () => noPrompts
  })
)

const helpOf = ({ names, placeholder }: CommandOption): string =>
  [Array.from(names).reverse().join(", "), placeholder ?? ""].join(" ").trim()

export const footer = [
  [helpOf(builtInOptions.help), "Show this help"],
  [helpOf(builtInOptions.version), "Show the version"],
  [helpOf(builtInOptions.completions), "Print completions for a shell"]
] as const

const usageError = (path: CommandPath, problem: string): Failure => ({
  lines: [`Error: ${problem}`, `  See: ${pathText(path)} --help`],
  exitCode: ExitCode.usage
})

/** Suggests one of an option's words for a value that is none of them. */
const valueSuggestion = ({ globals, options }: CommandLine, problem: string): string => {
  for (const { option, value } of [...globals, ...options]) {
    if (option.placeholder === undefined || value === undefined || !problem.includes(`${option.names[0]}:`)) continue
    const kind = valueKind(option.placeholder)
    if (kind._tag === "Words") return suggestion(value, kind.words)
  }
  return ""
}

const parseFailure = (line: CommandLine, error: ValidationError.ValidationError): Failure => {
  const problem = plain(error.error)
  const missing = Array.from(problem.matchAll(/Expected to find option: '(--[\w-]+)'/g), ([, name]) => name)
  if (missing.length > 0) return usageError(line.path, `missing ${missing.join(" and ")}`)
  return usageError(line.path, `${problem}${valueSuggestion(line, problem)}`)
}

/** The text of a built-in option: help, the version or completions. */
const builtInText = <Name extends string, E, A>(
  { aliases, examples, hasRootHandler, name, tree }: Program<Name, E, A>,
  { builtIn, path }: CommandLine
): ReadonlyArray<string> | undefined => {
  if (builtIn === undefined) return undefined
  if (builtIn === "help") return helpText(path, footer, hasRootHandler, examples[pathText(path)] ?? [])
  return builtIn === "version" ? [`${name} ${version}`] : completionScript(builtIn, tree, aliases)
}

/** `-o json` is for errors too, also for those in the line itself. */
const failureFormat = ({ options }: CommandLine) =>
  options.some(({ option, value }) => option.names[0] === "--output" && value === "json") ? "json" : "lines"

/** `--color`, of programs that have it. Another value than these is a usage error. */
const colourMode = ({ globals }: CommandLine) =>
  colourModes.find((mode) => globals.some(({ option, value }) => option.names[0] === "--color" && value === mode)) ??
  "auto"

/** Runs a command line. Succeeds with the exit code of the process; failures are printed. */
const execute = <Name extends string, E, A>(program: Program<Name, E, A>, line: CommandLine) => {
  const report = (failure: Failure) => Effect.as(reportFailure(failure), failure.exitCode)
  const asksForText = line.builtIn === "help" || line.builtIn === "version"
  if (line.problem !== undefined && !asksForText) return report(usageError(line.path, line.problem))
  const text = builtInText(program, line)
  if (text !== undefined) return printLines(text).pipe(Effect.as(ExitCode.ok), Effect.catchAll(report))
  // @effect/cli prints a parse error and fails with it; it is reported once, below.
  const silent = Effect.map(Console.consoleWith(Effect.succeed), (console) => ({
    ...console,
    error: () => Effect.void
  }))
  return Effect.flatMap(silent, (console) =>
    Command.run(program.command, { name: program.name, version })(["", "", ...libraryArguments(line)]).pipe(
      Effect.withConsole(console)
    )
  ).pipe(
    Effect.as(ExitCode.ok),
    Effect.catchAll((error) =>
      report(ValidationError.isValidationError(error) ? parseFailure(line, error) : program.failure(error))
    ),
    Effect.provide(environment),
    Effect.provideService(CliConfig.CliConfig, cliConfig)
  )
}

/** Runs a program with the arguments, streams and exit code of this process. */
export const main = <Name extends string, E, A>(program: Program<Name, E, A>): void => {
  mapStackTraces(__filename)
  const line = parseCommandLine(program.tree, process.argv.slice(2), program.hasRootHandler)
  const isLongRunning = program.hasRootHandler && line.path.length === 1
  const run = execute(program, line).pipe(
    Effect.provideService(FailureFormat, failureFormat(line)),
    Effect.provideService(ColourMode, colourMode(line))
  )
  NodeRuntime.runMain(run, {
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => {
      const end = (code: number, last: Effect.Effect<void>) =>
        void Effect.runCallback(last, { onExit: () => onExit(code) })
      if (Exit.isSuccess(exit)) return end(typeof exit.value === "number" ? exit.value : ExitCode.ok, flushStderr)
      if (Cause.isInterruptedOnly(exit.cause)) {
        return end(isLongRunning ? ExitCode.ok : ExitCode.interrupted, flushStderr)
      }
      const lines = [`Error: internal error in ${program.name}`, `  ${String(Cause.squash(exit.cause))}`]
      return end(ExitCode.failure, printErrorLines(lines))
    }
  })
}
