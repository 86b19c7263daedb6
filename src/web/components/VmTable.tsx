import { useComputed } from "@preact/signals"
import { useRef } from "preact/hooks"
import type { Vm } from "../../domain/Vm.js"
import { connection } from "../state/Connection.js"
import { formatAge, formatMib, formatTime } from "../state/Format.js"
import { vms } from "../state/Inventory.js"
import { selectedVms, selection } from "../state/ListState.js"
import { now } from "../state/Now.js"
import { vmHref } from "../state/Route.js"
import { type SortKey, sortedBy } from "../state/Selection.js"
import { useVisibleRows } from "../state/VisibleRows.js"
import { StateBadge } from "./StateBadge.js"
import { Text } from "./Text.js"
import { VmButtons } from "./VmButtons.js"

interface Column {
  readonly key: SortKey
  readonly title: string
  /** The class of its cells, by which narrow screens hide it. */
  readonly className: string
  readonly cell: (vm: Vm) => preact.ComponentChild
}

const Name = ({ vm }: { readonly vm: Vm }) => (
  <>
    <a href={vmHref(vm.id)}>
      <Text of={vm.name} />
    </a>
    <span class="narrow-details">
      <Text of={vm.role} /> · {vm.vcpu_count} vCPU · {formatMib(vm.mem_size_mib)}
    </span>
  </>
)

const columns: ReadonlyArray<Column> = [
  { key: "name", title: "Name", className: "name", cell: (vm) => <Name vm={vm} /> },
  {
    key: "role",
    title: "Role",
    className: "role",
    cell: ({ role }) => (
      <span class={`role-word role-${role}`}>
        <Text of={role} />
      </span>
    )
  },
  { key: "state", title: "State", className: "state", cell: (vm) => <StateBadge vm={vm} /> },
  { key: "vcpu_count", title: "vCPU", className: "number", cell: ({ vcpu_count }) => vcpu_count },
  {
    key: "mem_size_mib",
    title: "Memory",
    className: "number memory",
    cell: ({ mem_size_mib }) => formatMib(mem_size_mib)
  },
  { key: "cid", title: "CID", className: "number cid", cell: ({ cid }) => cid },
  {
    key: "created_at",
    title: "Age",
    className: "number age",
    cell: ({ created_at }) => <time title={formatTime(created_at)}>{formatAge(created_at, now.value)}</time>
  }
]

const hostColumn: Column = {
  key: "host",
  title: "Host",
  className: "host",
  cell: ({ host }) => host !== undefined && <Text of={host} />
}

const Heading = ({ column: { className, key, title } }: { readonly column: Column }) => {
  const { isDescending, sortBy } = selection.value
  const isSorted = sortBy === key
  // An age goes up as the time of creation goes down.
  const isUp = isDescending === (key === "created_at")
  return (
    <th scope="col" class={className} aria-sort={isSorted ? (isUp ? "ascending" : "descending") : undefined}>
      <button
        type="button"
        class="quiet"
        onClick={() => {
          selection.value = sortedBy(selection.value, key)
        }}
      >
        {title}
        <span class="sort" aria-hidden="true">
          {isSorted && (isUp ? "▲" : "▼")}
        </span>
      </button>
    </th>
  )
}

/** The arrow keys move between the names of rows, those that are not rendered yet included. */
const useArrowKeys = (scrollToRow: (index: number) => void) => {
  const body = useRef<HTMLTableSectionElement>(null)
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step === undefined || !(event.target instanceof Element)) return
    const row = event.target.closest<HTMLElement>("tr[data-index]")
    if (row === null) return
    const index = Number(row.dataset["index"]) + step
    event.preventDefault()
    scrollToRow(index)
    requestAnimationFrame(() => body.current?.querySelector<HTMLElement>(`tr[data-index="${index}"] a`)?.focus())
  }
  return { body, onKeyDown }
}

/** The selected records. Only the rows in view are in the document. */
export const VmTable = () => {
  const rows = selectedVms.value
  const hasHosts = useComputed(() => Array.from(vms.value.values()).some(({ host }) => host !== undefined))
  const shown = hasHosts.value ? [...columns, hostColumn] : columns
  const { after, before, first, last, scrollToRow, spacer } = useVisibleRows(rows.length)
  const { body, onKeyDown } = useArrowKeys(scrollToRow)
  return (
    <table class={hasHosts.value ? "vms with-hosts" : "vms"} aria-label="VMs" aria-rowcount={rows.length + 1}>
      <thead>
        <tr aria-rowindex={1}>
          {shown.map((column) => (
            <Heading key={column.key} column={column} />
          ))}
          <th scope="col" class="actions">
            <span class="visually-hidden">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody ref={spacer} aria-hidden="true">
        <tr style={{ height: `${before}px` }} />
      </tbody>
      <tbody ref={body} onKeyDown={onKeyDown}>
        {rows.slice(first, last).map((vm, offset) => (
          <tr key={vm.id} data-index={first + offset} aria-rowindex={first + offset + 2}>
            {shown.map(({ cell, className, key }) => (
              <td key={key} class={className}>
                {cell(vm)}
              </td>
            ))}
            <td class="actions">
              <VmButtons vm={vm} />
            </td>
          </tr>
        ))}
      </tbody>
      <tbody aria-hidden="true">
        <tr style={{ height: `${after}px` }} />
      </tbody>
      {rows.length === 0 && connection.value !== "connecting" && (
        <caption class="empty">{vms.value.size === 0 ? "There are no VMs yet." : "No VM matches the filters."}</caption>
      )}
    </table>
  )
}
