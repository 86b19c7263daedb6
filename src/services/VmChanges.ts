import type { Vm } from "../domain/Vm.js"
import type { VmChange, VmRun, VmWithRun } from "../domain/VmRun.js"
import { toVm } from "./VmRow.js"
import { encodeRun, withRun } from "./VmRunRow.js"

/** What a change writes. */
export interface Changes {
  /** The record and its run after the change; the same object as before if nothing changes. */
  readonly after: VmWithRun
  /** The columns of the record that change, with `updated_at`; empty if only the run changes. */
  readonly columns: ReadonlyArray<readonly [name: string, value: string | number | null]>
  readonly isRunChanged: boolean
}

const isSameRun = (a: VmRun | undefined, b: VmRun | undefined) =>
  a === b || (a !== undefined && b !== undefined && encodeRun(a) === encodeRun(b))

/**
 * Compares a change with what is there. `columns` are the store's: others are ignored. `now` is in seconds since the epoch.
 */
export const changesOf = (
  before: VmWithRun,
  change: VmChange | undefined,
  columns: ReadonlyArray<string>,
  now: number
): Changes => {
  if (change === undefined) return { after: before, columns: [], isRunChanged: false }
  const current: Readonly<Record<string, unknown>> = before.vm
  const set = Object.entries(change.set).filter(
    ([name, value]) => columns.includes(name) && current[name] !== (value ?? undefined)
  )
  const isRunChanged = !isSameRun(before.run, change.run)
  if (set.length === 0 && !isRunChanged) return { after: before, columns: [], isRunChanged }
  const changed = set.length === 0 ? [] : [...set, ["updated_at", now] as const]
  const vm: Vm = toVm({ ...before.vm, ...Object.fromEntries(changed) })
  return {
    after: withRun(vm, change.run),
    columns: changed.map(([name, value]) => [name, value ?? null]),
    isRunChanged
  }
}
