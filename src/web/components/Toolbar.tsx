import { VmRole, VmState } from "../../domain/Vm.js"
import { formatCount } from "../state/Format.js"
import { totals } from "../state/Inventory.js"
import { selectedVms, selection } from "../state/ListState.js"
import { isCreating } from "./CreateDialog.js"

export const filterId = "filter"

const Choice = ({ field, words }: { readonly field: "role" | "state"; readonly words: ReadonlyArray<string> }) => (
  <select
    aria-label={`Filter by ${field}`}
    value={selection.value[field]}
    onChange={({ currentTarget }) => {
      selection.value = { ...selection.value, [field]: currentTarget.value }
    }}
  >
    <option value="">Any {field}</option>
    {words.map((word) => (
      <option key={word}>{word}</option>
    ))}
  </select>
)

/** The filters of the list, how many records they leave, and the button that creates a VM. */
export const Toolbar = () => {
  const shown = selectedVms.value.length
  const { count } = totals.value
  return (
    <search class="toolbar" aria-label="VMs">
      <input
        id={filterId}
        type="search"
        placeholder="Filter by name, id, CID or host"
        aria-label="Filter by text"
        aria-keyshortcuts="/"
        value={selection.value.text}
        onInput={({ currentTarget }) => {
          selection.value = { ...selection.value, text: currentTarget.value }
        }}
      />
      <Choice field="role" words={VmRole.literals} />
      <Choice field="state" words={VmState.literals} />
      <span class="hint" role="status">
        {shown === count ? `${formatCount(count)} VMs` : `${formatCount(shown)} of ${formatCount(count)} VMs`}
      </span>
      <button
        type="button"
        class="primary"
        aria-keyshortcuts="n"
        onClick={() => {
          isCreating.value = true
        }}
      >
        New VM
      </button>
    </search>
  )
}
