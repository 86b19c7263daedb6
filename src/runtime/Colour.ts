import { isatty } from "node:tty"
import * as Util from "node:util"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** When output is coloured. */
export const colourModes = ["auto", "always", "never"] as const
type Mode = (typeof colourModes)[number]

/** The option `--color` of a command line. */
export class ColourMode extends Context.Reference<ColourMode>()("nexus/ColourMode", {
  defaultValue: (): Mode => "auto"
}) {}

type Colour = "green" | "yellow" | "red"

/** Whether a descriptor is a terminal that takes escape sequences. */
export const isCapableTerminal = (descriptor: number): boolean => {
  const terminal = process.env["TERM"]
  return isatty(descriptor) && terminal !== undefined && terminal !== "" && terminal !== "dumb"
}

/** Whether what goes to a descriptor is coloured: `auto` is for terminals, and without NO_COLOR (no-color.org). */
export const isColoured = (descriptor: number): Effect.Effect<boolean> =>
  Effect.map(ColourMode, (mode) =>
    mode === "auto" ? isCapableTerminal(descriptor) && !process.env["NO_COLOR"] : mode === "always"
  )

/** A safe text in a colour. Node.js before 20.12 has no `styleText`. */
export const coloured = (colour: Colour, text: string): string =>
  "styleText" in Util ? Util.styleText(colour, text, { validateStream: false }) : text
