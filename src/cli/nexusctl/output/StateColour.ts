import { coloured } from "../../../runtime/Colour.js"

const colours: Readonly<Record<string, "green" | "yellow" | "red">> = {
  running: "green",
  stopped: "yellow",
  crashed: "red",
  failed: "red"
}

/** The text for a VM's state, in the state's colour if it has one. */
export const colouredState = (state: string, text = state): string => {
  const colour = Object.hasOwn(colours, state) ? colours[state] : undefined
  return colour === undefined ? text : coloured(colour, text)
}

/** Colours the state in the details of a VM. */
export const detailsStyle = (line: string): string =>
  line.replace(/^(State: +)(.+)$/, (_, label: string, state: string) => label + colouredState(state))
