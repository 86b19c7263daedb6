import type { Vm } from "../../domain/Vm.js"
import { escapeText } from "../../runtime/TerminalText.js"
import { startVm, stopVm, underway } from "../state/Actions.js"
import { vmToDelete } from "./DeleteDialog.js"
import { DeleteIcon, StartIcon, StopIcon } from "./Icons.js"

/** What can be done to a VM: icons in a row of the list, words on its own page. */
export const VmButtons = ({ vm, hasWords = false }: { readonly vm: Vm; readonly hasWords?: boolean }) => {
  const isBusy = underway.value.has(vm.id)
  const isRunning = vm.state === "running"
  const name = escapeText(vm.name)
  const button = (word: string, icon: preact.ComponentChild, isDisabled: boolean, onClick: () => void) => (
    <button
      type="button"
      class={hasWords ? "" : "quiet"}
      aria-label={`${word} ${name}`}
      title={hasWords ? undefined : word}
      disabled={isDisabled}
      onClick={onClick}
    >
      {icon}
      {hasWords && word}
    </button>
  )
  return (
    <div class="vm-buttons">
      {isRunning
        ? button("Stop", <StopIcon />, isBusy, () => void stopVm(vm, { force: false }))
        : button("Start", <StartIcon />, isBusy, () => void startVm(vm))}
      {isRunning && hasWords && button("Kill", <StopIcon />, false, () => void stopVm(vm, { force: true }))}
      {button("Delete", <DeleteIcon />, isBusy || isRunning, () => {
        vmToDelete.value = vm
      })}
    </div>
  )
}
