import { computed, signal } from "@preact/signals"
import type { Vm } from "../../domain/Vm.js"
import type { VmChange } from "../../http/VmWatch.js"
import { totalsOf } from "./Totals.js"

/** The records as this page knows them, by id. */
export const vms = signal<ReadonlyMap<string, Vm>>(new Map())

export const totals = computed(() => totalsOf(vms.value.values()))

/** A change with what it changed, for people. */
export interface JournalEntry {
  readonly sequence: number
  /** Milliseconds since the epoch, by this browser's clock. */
  readonly at: number
  readonly event: VmChange["event"]
  readonly id: string
  readonly summary: string
}

const maxJournalEntries = 2_000

/** The changes since the page was opened, the latest last. */
export const journal = signal<ReadonlyArray<JournalEntry>>([])

/** Fields that follow from others. */
const silentFields = new Set(["id", "updated_at", "started_at", "stopped_at"])

const changedFields = (before: Vm, after: Vm): string => {
  const old: Readonly<Record<string, unknown>> = before
  const names = Object.keys({ ...after, ...before }).filter((name) => !silentFields.has(name))
  const current: Readonly<Record<string, unknown>> = after
  return names
    .filter((name) => old[name] !== current[name])
    .map((name) => (name === "config_json" ? "config_json" : `${name} ${old[name] ?? "–"} → ${current[name] ?? "–"}`))
    .join(", ")
}

let sequence = 0

/** Milliseconds in which changes are collected: many at once are one update of the page. */
const batchMillis = 50
const batch: Array<VmChange> = []
let isScheduled = false

const toEntry = (change: Exclude<VmChange, { readonly event: "listed" }>): JournalEntry => ({
  sequence: sequence++,
  at: Date.now(),
  event: change.event,
  id: change.vm.id,
  summary: change.event === "updated" ? changedFields(change.before, change.vm) : ""
})

const applyBatch = () => {
  isScheduled = false
  let next = new Map(vms.value)
  const entries: Array<JournalEntry> = []
  for (const change of batch.splice(0)) {
    if (change.event === "listed") next = new Map(change.vms.map((vm) => [vm.id, vm]))
    else {
      if (change.event === "deleted") next.delete(change.vm.id)
      else next.set(change.vm.id, change.vm)
      entries.push(toEntry(change))
    }
  }
  vms.value = next
  if (entries.length > 0) journal.value = [...journal.value, ...entries].slice(-maxJournalEntries)
}

/** Applies a change: a list at once, another with those that arrive soon after it. */
export const applyChange = (change: VmChange) => {
  batch.push(change)
  if (change.event === "listed") return applyBatch()
  if (isScheduled) return
  isScheduled = true
  setTimeout(applyBatch, batchMillis)
}

/** Shows the record of an answer before its change arrives. */
export const showRecord = (vm: Vm) => {
  vms.value = new Map(vms.value).set(vm.id, vm)
}

export const removeRecord = (id: string) => {
  const next = new Map(vms.value)
  next.delete(id)
  vms.value = next
}
