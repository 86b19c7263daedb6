import { constants, existsSync, fstatSync, readFileSync, readlinkSync, writeSync } from "node:fs"
import { constants as osConstants } from "node:os"
import { isatty } from "node:tty"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { coloured, isCapableTerminal, isColoured } from "./Colour.js"
import { ExitCode } from "./ExitCode.js"
import { systemErrorMessage } from "./SystemError.js"
import { escapeText, toSafeJson } from "./TerminalText.js"

/** Output can't be written, for example on a full disk. */
export class OutputFailed extends Data.TaggedError("OutputFailed")<{
  readonly lines: ReadonlyArray<string>
  readonly exitCode: ExitCode
}> {}

type Name = "stdout" | "stderr"
const descriptors = { stdout: 1, stderr: 2 } as const
type Done = (error?: NodeJS.ErrnoException | null) => void
type Output = string | Uint8Array

/** Writes until all bytes are written. Node's own stream for files ignores a short write, as on a disk that fills up. */
const fileWriter = (name: Name) => (output: Output, done: Done) => {
  try {
    for (let bytes = Buffer.from(output); bytes.length > 0; )
      bytes = bytes.subarray(writeSync(descriptors[name], bytes))
    done()
  } catch (error) {
    done(error instanceof Error ? error : new Error(String(error)))
  }
}

/**
 * Whether a shell started the process with stdout closed (`>&-`). Node.js opens /dev/null for reading and writing in its
 * place before any script runs. Python and Node.js open the same where they discard a child's output, a shell does not.
 */
const isClosedByShell = (): boolean => {
  try {
    if (readlinkSync("/proc/self/fd/1") !== "/dev/null") return false
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync("/proc/self/fdinfo/1", "utf8"))?.[1] ?? "0"
    if ((Number.parseInt(flags, 8) & constants.O_RDWR) === 0) return false
    const parent = `/proc/${process.ppid}`
    if (!/^(|ba|da|z|fi|k|mk|busybox)sh$|^busybox$/.test(readFileSync(`${parent}/comm`, "utf8").trim())) return false
    // Else the shell's own output is discarded, and the process inherited that.
    return !existsSync(`${parent}/fd/1`) || readlinkSync(`${parent}/fd/1`) !== "/dev/null"
  } catch {
    return false
  }
}

const closedWriter = (_: Output, done: Done) =>
  done(Object.assign(new Error("stdout is closed"), { code: "EBADF", errno: -osConstants.errno.EBADF }))

/** Errors reach the callback of each write. The listener is needed, since an unhandled `error` event ends the process. */
const streamWriter = (name: Name) => {
  const stream = process[name].on("error", () => {})
  return (output: Output, done: Done) => void stream.write(output, done)
}

const makeWriter = (name: Name) => {
  const stat = fstatSync(descriptors[name])
  if (name === "stdout" && stat.isCharacterDevice() && isClosedByShell()) return closedWriter
  return stat.isFIFO() || stat.isSocket() || isatty(descriptors[name]) ? streamWriter(name) : fileWriter(name)
}

const writers: { [name in Name]?: ReturnType<typeof makeWriter> } = {}
const writerOf = (name: Name) => {
  writers[name] ??= makeWriter(name)
  return writers[name]
}

/** Carriage return and EL (ECMA-48, 8.3.41): the next output begins on an empty line. */
const clearLine = "\r\u001b[K"
let status: string | undefined

const writeStatus = (text: string): void => writerOf("stderr")(text, () => {})

/** Removes the status line from the terminal. */
export const clearStatus = (): void => {
  if (status !== undefined) writeStatus(clearLine)
  status = undefined
}

/** Shows a line on stderr, which is a terminal, below all other output. It is cut to the terminal's width. */
export const showStatus = (text: string): void => {
  status = escapeText(text).slice(0, (process.stderr.columns || 80) - 1)
  writeStatus(clearLine + status)
}

/** Writes above the status line, if one is shown. Writes to terminals are synchronous (nodejs.org/api/process.html). */
const aboveStatus = (write: () => void): void => {
  if (status !== undefined) writeStatus(clearLine)
  write()
  if (status !== undefined) writeStatus(status)
}

/** Whether people see a status line: stdout and stderr are terminals that take escape sequences. */
export const isStatusVisible = (): boolean => Object.values(descriptors).every(isCapableTerminal)

/** Writes text or bytes. Completes when the reader or the file has it, so that the process may exit. */
const write = (name: Name, output: Output): Effect.Effect<void, NodeJS.ErrnoException> =>
  Effect.async((resume) =>
    aboveStatus(() => writerOf(name)(output, (error) => resume(error ? Effect.fail(error) : Effect.void)))
  )

/** The reader has closed the pipe or socket, as `head` does. Later writes find the stream destroyed. */
const isReaderGone = ({ code }: NodeJS.ErrnoException): boolean =>
  code === "EPIPE" || code === "ECONNRESET" || code === "ERR_STREAM_DESTROYED"

const reason = (error: NodeJS.ErrnoException): string =>
  `${systemErrorMessage(error)}${error.code === undefined ? "" : ` (${error.code})`}`

/** Writes to stdout as it is; returns whether somebody still reads. The caller escapes text for a terminal. */
export const writeStdout = (output: Output): Effect.Effect<boolean, OutputFailed> =>
  write("stdout", output).pipe(
    Effect.as(true),
    Effect.catchAll((error) =>
      isReaderGone(error)
        ? Effect.succeed(false)
        : new OutputFailed({ lines: [`Error: cannot write to stdout: ${reason(error)}`], exitCode: ExitCode.failure })
    )
  )

/** Adds colours to a line without unsafe characters. */
export type LineStyle = (line: string) => string

const toText = (lines: ReadonlyArray<string>, style?: LineStyle): string =>
  lines.map((line) => `${style ? style(escapeText(line)) : escapeText(line)}\n`).join("")

/** The lines as text; styled if what goes to the stream is coloured. */
const styledText = (name: Name, lines: ReadonlyArray<string>, style: LineStyle | undefined) =>
  style === undefined
    ? Effect.succeed(toText(lines))
    : Effect.map(isColoured(descriptors[name]), (coloured) => toText(lines, coloured ? style : undefined))

/**
 * Prints a result for people, one line for each element; returns whether somebody still reads. Control characters, line
 * feeds too, are escaped.
 */
export const printLines = (lines: ReadonlyArray<string>, style?: LineStyle): Effect.Effect<boolean, OutputFailed> =>
  Effect.flatMap(styledText("stdout", lines, style), writeStdout)

/** Prints results for programs, as JSON on one line each; returns whether somebody still reads. */
export const printJsonLines = (values: ReadonlyArray<unknown>): Effect.Effect<boolean, OutputFailed> =>
  writeStdout(values.map((value) => `${toSafeJson(value)}\n`).join(""))

/** Prints a result for programs, as JSON on one line; returns whether somebody still reads. */
export const printJson = (value: unknown): Effect.Effect<boolean, OutputFailed> => printJsonLines([value])

/** Whether what is printed on stdout is coloured. */
export const isStdoutColoured = Effect.suspend(() => isColoured(descriptors.stdout))

/** Whether stdout is a terminal. */
export const isTerminal = (): boolean => isatty(descriptors.stdout)

/** The columns of the terminal that stdout is, if it knows them. */
export const terminalWidth = (): number | undefined => (isTerminal() && process.stdout.columns) || undefined

/** Prints an error for programs, as JSON on one line. Never fails, as `printErrorLines`. */
export const printErrorJson = (value: unknown): Effect.Effect<void> =>
  Effect.ignore(write("stderr", `${toSafeJson(value)}\n`))

const errorStyle: LineStyle = (line) => line.replace(/^Error:/, (word) => coloured("red", word))

/** Prints an error, one line for each element. Never fails: a failure could not be reported anywhere. */
export const printErrorLines = (lines: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.flatMap(styledText("stderr", lines, errorStyle), (text) => Effect.ignore(write("stderr", text)))

/** Writes to stderr without waiting and ignores errors, for logs and progress. The caller escapes the text. */
export const writeStderr = (text: string): void => {
  aboveStatus(() => writerOf("stderr")(text, () => {}))
}

/** Waits until everything written to stderr was read, for one second at most. */
export const flushStderr: Effect.Effect<void> = Effect.suspend(() =>
  writers.stderr === undefined || process.stderr.writableLength === 0
    ? Effect.void
    : Effect.ignore(Effect.timeout(write("stderr", ""), "1 second"))
)
