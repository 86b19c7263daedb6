import { signal } from "@preact/signals"
import { useState } from "preact/hooks"
import type { Vm } from "../domain/Vm.js"
import { deleteVm } from "./Actions.js"
import { Dialog } from "./Dialog.js"
import { Text } from "./Text.js"

/** The VM whose deletion waits for confirmation. */
export const vmToDelete = signal<Vm | undefined>(undefined)

const close = () => {
  vmToDelete.value = undefined
}

export const DeleteDialog = ({ vm }: { readonly vm: Vm }) => {
  const [error, setError] = useState<string>()
  const [isBusy, setIsBusy] = useState(false)
  const confirm = async (event: Event) => {
    event.preventDefault()
    setIsBusy(true)
    const message = await deleteVm(vm)
    setIsBusy(false)
    if (message === undefined) close()
    else setError(message)
  }
  return (
    <Dialog title="Delete VM" onClose={close}>
      <form onSubmit={confirm}>
        <p>
          Delete{" "}
          <strong>
            <Text of={vm.name} />
          </strong>
          ? Its record and its console log are removed.
        </p>
        <p class="error" role="alert">
          {error}
        </p>
        <div class="dialog-buttons">
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={isBusy}>
            Delete
          </button>
        </div>
      </form>
    </Dialog>
  )
}
