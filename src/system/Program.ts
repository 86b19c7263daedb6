import type * as CliApp from "@effect/cli/CliApp"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { version } from "../domain/Version.js"
import { type CommandTree, cliConfig, commandLine, helpText, locate, type Place, plain } from "./CommandTree.js"
import { ExitCode } from "./ExitCode.js"
import { mapStackTraces } from "./StackTraces.js"
import { flushStderr, printErrorLines, printLines } from "./StandardStreams.js"

/** A failure as its user sees it: the lines on stderr, and the code the process exits with. */
interface Failure {
  readonly lines: ReadonlyArray<string>
  readonly exitCode: ExitCode
}

/** A program of one root command. */
export interface Program<Name extends string, E, A> {
  readonly name: Name
  readonly command: Command.Command<Name, CliApp.CliApp.Environment, E, A>
  readonly tree: CommandTree
  /** Options of the root command that take a value and may stand anywhere on the line. */
  readonly globals: ReadonlyArray<string>
  /** Whether the root command does something without a command below it: it goes on until it is told to stop then. */
  readonly runsAlone: boolean
  readonly failure: (error: E) => Failure
}

/**
 * Puts global options first, each as one word: the library takes them before a command's name and after its arguments,
 * not in between, and would take a value such as `vm` for the command.
 */
const hoist = (args: ReadonlyArray<string>, globals: ReadonlyArray<string>): ReadonlyArray<string> => {
  const first: Array<string> = []
  const rest: Array<string> = []
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? ""
    if (word === "--") return [...first, ...rest, ...args.slice(index)]
    const value = args[index + 1]
    if (globals.includes(word) && value !== undefined) {
      first.push(`${word}=${value}`)
      index++
    } else if (globals.some((name) => word.startsWith(`${name}=`))) first.push(word)
    else rest.push(word)
  }
  return [...first, ...rest]
}

const footer = [
  ["-h, --help", "Show this help"],
  ["--version", "Show the version"],
  ["--completions bash | zsh | fish | sh", "Print completions for a shell"]
] as const

const usageError = (place: Place, problem: string): Failure => ({
  lines: [`Error: ${problem}`, `  See: ${commandLine(place)} --help`],
  exitCode: ExitCode.usage
})

/** The words of a line that may be commands or options: those after `--` are neither. */
const wordsOf = (args: ReadonlyArray<string>): ReadonlyArray<string> =>
  args.includes("--") ? args.slice(0, args.indexOf("--")) : args

/** The options that a line holds, without their values, and how each is written in the help of its command. */
const optionsOf = (place: Place, args: ReadonlyArray<string>) => {
  const usage = place.path.map((command) => command.usage()).join(" ")
  return wordsOf(args).flatMap((word) => {
    const name = /^--?[a-zA-Z][\w-]*/.exec(word)?.[0]
    const shown = new RegExp(`[[\\s]${name}(?![\\w-])(, --[\\w-]+)?( [^\\]])?`).exec(usage)
    return name === undefined ? [] : [{ name, isKnown: shown !== null, takesValue: shown?.[2] !== undefined }]
  })
}

const unknownOption = (place: Place, args: ReadonlyArray<string>): Failure | undefined => {
  const unknown = optionsOf(place, args).find(({ isKnown }) => !isKnown)
  return unknown && usageError(place, `unknown option '${unknown.name}'`)
}

/** What is wrong with a line. The library blames the commands for what is wrong with an option. */
const parseError = (place: Place, args: ReadonlyArray<string>, error: ValidationError.ValidationError): Failure => {
  const problem = plain(error.error)
  if (/^(option|argument) /.test(problem)) return usageError(place, problem)
  const valued = optionsOf(place, args).filter(({ takesValue }) => takesValue)
  const names = valued.map(({ name }) => name)
  const misused = names.find((name, index) => names.indexOf(name) !== index || wordsOf(args).at(-1) === name)
  return (
    unknownOption(place, args) ??
    usageError(place, misused === undefined ? problem : `option ${misused} takes one value, and can be given once`)
  )
}

/** What a line asks for before any command is run: help, the version, or a command that is not there. */
const before = (place: Place, args: ReadonlyArray<string>, runsAlone: boolean): string | Failure | undefined => {
  const words = wordsOf(args)
  if (words.includes("--help") || words.includes("-h")) return helpText(place, footer, runsAlone)
  if (words.includes("--version")) return `${place.path[0].name} ${version}`
  if (words.some((word) => /^--(completions|log-level)\b/.test(word))) return undefined
  // The library would begin to ask questions.
  if (words.includes("--wizard")) return usageError(place, "unknown option '--wizard'")
  const here = place.path.at(-1)
  if (here === undefined || here.children.length === 0) return undefined
  if (runsAlone && place.path.length === 1 && place.unknown === undefined) return undefined
  const choices = `expected one of ${here.children.map(({ name }) => name).join(", ")}`
  return place.unknown === undefined
    ? usageError(place, `missing command: ${choices}`)
    : (unknownOption(place, args) ?? usageError(place, `unknown command '${place.unknown}': ${choices}`))
}

/** Runs a command line; succeeds with the process's exit code, whatever happened. */
const execute = <Name extends string, E, A>(program: Program<Name, E, A>, argv: ReadonlyArray<string>) => {
  const args = hoist(argv.slice(2), program.globals)
  const place = locate(program.tree, args)
  const report = ({ exitCode, lines }: Failure) => Effect.as(printErrorLines(lines), exitCode)
  const answer = before(place, args, program.runsAlone)
  if (typeof answer === "string") {
    return printLines(answer.split("\n")).pipe(Effect.as(ExitCode.ok), Effect.catchAll(report))
  }
  if (answer !== undefined) return report(answer)
  // The library prints what is wrong with a line and then fails with it; it is said once, below.
  const quiet = Effect.map(Console.consoleWith(Effect.succeed), (console) => ({ ...console, error: () => Effect.void }))
  return Effect.flatMap(quiet, (console) =>
    Command.run(program.command, { name: program.name, version })([...argv.slice(0, 2), ...args]).pipe(
      Effect.withConsole(console)
    )
  ).pipe(
    Effect.as(ExitCode.ok),
    Effect.catchAll((error) =>
      report(ValidationError.isValidationError(error) ? parseError(place, args, error) : program.failure(error))
    ),
    Effect.provide(NodeContext.layer),
    Effect.provideService(CliConfig.CliConfig, cliConfig)
  )
}

/** Runs a program as this process: with its arguments, on its streams, to its exit code. */
export const main = <Name extends string, E, A>(program: Program<Name, E, A>): void => {
  mapStackTraces(__filename)
  const { path } = locate(program.tree, hoist(process.argv.slice(2), program.globals))
  const goesOn = program.runsAlone && path.length === 1
  NodeRuntime.runMain(execute(program, process.argv), {
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => {
      const end = (code: number, last: Effect.Effect<void>) =>
        void Effect.runCallback(last, { onExit: () => onExit(code) })
      if (Exit.isSuccess(exit)) return end(typeof exit.value === "number" ? exit.value : ExitCode.ok, flushStderr)
      if (Cause.isInterruptedOnly(exit.cause)) return end(goesOn ? ExitCode.ok : ExitCode.interrupted, flushStderr)
      const lines = [`Error: internal error in ${program.name}`, `  ${String(Cause.squash(exit.cause))}`]
      return end(ExitCode.failure, printErrorLines(lines))
    }
  })
}
