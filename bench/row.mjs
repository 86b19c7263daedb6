import { figure } from "./statistics.mjs"

/**
 * A line of the table.
 *
 * @typedef {object} Row
 * @property {string} path the call, or the state of the daemon
 * @property {string} nexus Nexus's figure
 * @property {string} against the baseline, with its figure
 * @property {number} value the ratio, or a figure in `unit`
 * @property {string} [unit]
 * @property {{ readonly atMost: number } | { readonly atLeast: number }} [goal] rows without one are for information
 * @property {string} details what explains the figure
 */

/** @param {Row} row */
export const isMet = ({ goal, value }) =>
  goal === undefined || ("atMost" in goal ? value <= goal.atMost : value >= goal.atLeast)

/** @param {Row} row */
const cells = ({ against, goal, nexus, path, unit = "", value, ...row }) => [
  path,
  nexus,
  against,
  `${figure(value)}${unit}`,
  goal === undefined ? "" : "atMost" in goal ? `<= ${goal.atMost}${unit}` : `>= ${goal.atLeast}${unit}`,
  goal === undefined ? "" : isMet({ against, goal, nexus, path, value, ...row }) ? "pass" : "FAIL"
]

const titles = ["path", "Nexus", "against", "ratio", "goal", "result"]

/** @param {ReadonlyArray<Row>} rows */
export const table = (rows) => {
  const body = rows.map(cells)
  const widths = titles.map((title, column) =>
    body.reduce((widest, line) => Math.max(widest, line[column]?.length ?? 0), title.length)
  )
  /** @param {ReadonlyArray<string>} line */
  const join = (line) => `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`
  return [join(titles), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...body.map(join)].join("\n")
}
