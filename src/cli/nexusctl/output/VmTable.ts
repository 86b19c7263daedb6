import type { Vm } from "../../../domain/Vm.js"
import { escapeText } from "../../../runtime/TerminalText.js"
import { displayWidth, truncateToWidth } from "./DisplayWidth.js"
import { colouredState } from "./StateColour.js"

/** How long ago, in one unit: `5s`, `12m`, `3h`, `4d`. */
export const formatAge = (seconds: number): string => {
  const age = Math.max(0, seconds)
  if (age < 60) return `${age}s`
  if (age < 3600) return `${Math.floor(age / 60)}m`
  return age < 86400 ? `${Math.floor(age / 3600)}h` : `${Math.floor(age / 86400)}d`
}

/** `now` is in seconds since the epoch. */
type Column = readonly [title: string, width: number, cell: (vm: Vm, now: number) => string]

const columns: ReadonlyArray<Column> = [
  ["NAME", 20, (vm) => vm.name],
  ["ROLE", 10, (vm) => vm.role],
  ["STATE", 10, (vm) => vm.state],
  ["VCPU", 6, (vm) => String(vm.vcpu_count)],
  ["MEM", 8, (vm) => `${vm.mem_size_mib}M`],
  ["CID", 6, (vm) => String(vm.cid)]
]

const wideColumns: ReadonlyArray<Column> = [
  ...columns,
  ["ID", 36, (vm) => vm.id],
  ["AGE", 5, (vm, now) => formatAge(now - vm.created_at)],
  ["PID", 7, (vm) => (vm.pid === undefined ? "-" : String(vm.pid))]
]

interface TableOptions {
  /** With ID, AGE and PID. */
  readonly isWide?: boolean
  readonly hasHeader?: boolean
  /** Whether states have colours. A table that is wider than the terminal has none. */
  readonly isColoured?: boolean
  /** The terminal's columns; without it lines have any length. */
  readonly width?: number | undefined
  /** In seconds since the epoch. */
  readonly now?: number
}

const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, number) => total + number, 0)

/** Cells are not cut to fewer columns than this. */
const minWidth = 3

/**
 * Widths that add up to `available`, as far as `minWidth` permits: columns lose their padding first, then the widest ones
 * are cut.
 */
const fitWidths = (
  padded: ReadonlyArray<number>,
  contents: ReadonlyArray<number>,
  available: number
): ReadonlyArray<number> => {
  const widths = padded.map((width) => Math.min(width, Math.max(available, minWidth)))
  const shrink = (index: number, least: number) => {
    const width = widths[index] ?? 0
    widths[index] = Math.max(least, width - Math.max(0, sum(widths) - available))
  }
  for (let index = widths.length - 1; index >= 0; index--) {
    shrink(index, Math.min(widths[index] ?? 0, contents[index] ?? 0))
  }
  while (sum(widths) > available) {
    const widest = Math.max(...widths)
    if (widest <= minWidth) break
    shrink(widths.indexOf(widest), widest - 1)
  }
  return widths
}

/** A line of the table. */
export interface VmRow {
  readonly vm: Vm
  /** Stands behind the columns. */
  readonly note?: string
}

/**
 * Makes a function that lays out one part of a table after the other. A column is as wide as its widest cell so far, and
 * at least as wide as in the step 4 plan of WorkFort Nexus, unless the terminal is narrower.
 */
export const makeVmTable = ({
  isColoured = false,
  isWide = false,
  width
}: Omit<TableOptions, "hasHeader" | "now"> = {}) => {
  const shown = isWide ? wideColumns : columns
  const least = shown.map(([, width]) => width)
  const widest = shown.map(() => 0)
  return (rows: ReadonlyArray<VmRow>, { hasHeader = true, now = Math.floor(Date.now() / 1000) }: TableOptions = {}) => {
    const hasNotes = rows.some(({ note }) => note !== undefined)
    const cells = rows.map(({ vm }) => shown.map(([, , cell]) => escapeText(cell(vm, now))))
    const notes = rows.map(({ note = "" }) => escapeText(note))
    if (hasHeader) {
      cells.unshift(shown.map(([title]) => title))
      notes.unshift("")
    }
    for (const line of cells) {
      for (const [index, cell] of line.entries()) widest[index] = Math.max(widest[index] ?? 0, displayWidth(cell))
    }
    const noteWidths = hasNotes ? [Math.max(...notes.map(displayWidth))] : []
    const contents = [...widest, ...noteWidths]
    const padded = [...least.map((width, index) => Math.max(width, widest[index] ?? 0)), ...noteWidths]
    const widths = width === undefined ? padded : fitWidths(padded, contents, width - (padded.length - 1))
    const isWhole = width === undefined || sum(widths) + widths.length - 1 <= width
    const toCell = (cell: string, index: number) => {
      const columnWidth = widths[index] ?? 0
      const text = width === undefined ? cell : truncateToWidth(cell, columnWidth)
      const shownText = isColoured && isWhole && shown[index]?.[0] === "STATE" ? colouredState(cell, text) : text
      return shownText + " ".repeat(columnWidth - displayWidth(text))
    }
    return cells.map((line, row) => {
      const text = [...line, ...(hasNotes ? [notes[row] ?? ""] : [])].map(toCell).join(" ").trimEnd()
      return isWhole ? text : truncateToWidth(text, width).trimEnd()
    })
  }
}

/** A header and a line for each VM. */
export const vmTable = (vms: ReadonlyArray<Vm>, options: TableOptions = {}): ReadonlyArray<string> =>
  makeVmTable(options)(
    vms.map((vm) => ({ vm })),
    options
  )
