import type { Vm } from "../../domain/Vm.js"

/** The columns that sort the list. */
export type SortKey = "name" | "role" | "state" | "vcpu_count" | "mem_size_mib" | "cid" | "created_at" | "host"

/** Which records the list shows, and in which order. An empty text, role or state does not filter. */
export interface Selection {
  readonly text: string
  readonly role: string
  readonly state: string
  readonly sortBy: SortKey
  readonly isDescending: boolean
}

/** All, newest first. */
export const initialSelection: Selection = { text: "", role: "", state: "", sortBy: "created_at", isDescending: true }

/** Selects by a column; by the same one again in the opposite order. */
export const sortedBy = (selection: Selection, sortBy: SortKey): Selection => ({
  ...selection,
  sortBy,
  isDescending: selection.sortBy === sortBy ? !selection.isDescending : sortBy === "created_at"
})

/** `web-2` before `web-10`. */
const { compare } = new Intl.Collator("en", { numeric: true })

const compareBy = (key: SortKey) => (a: Vm, b: Vm) => {
  const [left = "", right = ""] = [a[key], b[key]]
  return typeof left === "number" && typeof right === "number" ? left - right : compare(`${left}`, `${right}`)
}

/** Whether every word of the text is in a record's name, id, CID or host. */
const hasWords = (text: string) => {
  const words = text.toLowerCase().split(/\s+/)
  return ({ cid, host = "", id, name }: Vm) => {
    const searched = `${name} ${id} ${cid} ${host}`.toLowerCase()
    return words.every((word) => searched.includes(word))
  }
}

/** The records of a selection, in its order; of equal ones the later CID is first. */
export const select = (vms: Iterable<Vm>, { isDescending, role, sortBy, state, text }: Selection): Array<Vm> => {
  const matches = hasWords(text)
  const order = compareBy(sortBy)
  const direction = isDescending ? -1 : 1
  return Array.from(vms)
    .filter((vm) => (role === "" || vm.role === role) && (state === "" || vm.state === state) && matches(vm))
    .sort((a, b) => direction * order(a, b) || b.cid - a.cid)
}
