import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as HashMap from "effect/HashMap"
import * as Inspectable from "effect/Inspectable"
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { writeStderr } from "./StandardStreams.js"
import { escapeText, toSafeJson } from "./TerminalText.js"

const textOf = (message: unknown): string =>
  Array.ensure(message)
    .map((part) => (typeof part === "string" ? part : Inspectable.toStringUnknown(part, 0)))
    .join(" ")

const causeOf = (cause: Cause.Cause<unknown>): string | undefined =>
  Cause.isEmpty(cause) ? undefined : Cause.pretty(cause, { renderErrorCause: true })

const colours: Readonly<Record<string, string>> = { ERROR: "31", FATAL: "31", WARN: "33", INFO: "32" }

/** One line per entry with time, level and text, and the stack trace of a cause. Control characters are escaped. */
const terminalLogger = (colour: boolean) =>
  Logger.make(({ annotations, cause, date, logLevel, message }) => {
    const code = colours[logLevel.label] ?? "2"
    const level = colour ? `\u001b[${code}m${logLevel.label.padEnd(5)}\u001b[0m` : logLevel.label.padEnd(5)
    const details = Array.fromIterable(HashMap.entries(annotations)).map(([key, value]) => ` ${key}=${String(value)}`)
    const text = escapeText(`${textOf(message)}${details.join("")}`)
    const trace =
      causeOf(cause)
        ?.split("\n")
        .map((line) => `\n${escapeText(line)}`) ?? []
    writeStderr(`${date.toTimeString().slice(0, 8)} ${level} ${text}${trace.join("")}\n`)
  })

/** One JSON object per line, without `time` under systemd's journal, which adds its own. */
const jsonLogger = (underJournal: boolean) =>
  Logger.make(({ annotations, cause, date, logLevel, message }) =>
    writeStderr(
      `${toSafeJson({
        ...(underJournal ? {} : { time: date.toISOString() }),
        level: logLevel.label.toLowerCase(),
        message: textOf(message),
        ...Object.fromEntries(annotations),
        cause: causeOf(cause)
      })}\n`
    )
  )

/** Logs to stderr: text on a terminal, else JSON. */
export const logging: Layer.Layer<never> = Logger.replace(
  Logger.defaultLogger,
  process.stderr.isTTY
    ? terminalLogger(process.env["NO_COLOR"] === undefined)
    : jsonLogger(process.env["JOURNAL_STREAM"] !== undefined)
)
