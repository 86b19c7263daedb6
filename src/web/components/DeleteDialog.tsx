import { signal } from "@preact/signals"
import { useState } from "preact/hooks"
import type { Vm } from "../../domain/Vm.js"
import { deleteVm } from "../state/Actions.js"
import { DialogForm } from "./DialogForm.js"
import { Text } from "./Text.js"

/** The VM whose deletion waits for confirmation. */
export const vmToDelete = signal<Vm | undefined>(undefined)

const close = () => {
  vmToDelete.value = undefined
}

export const DeleteDialog = ({ vm }: { readonly vm: Vm }) => {
  const [error, setError] = useState<string>()
  const [isBusy, setIsBusy] = useState(false)
  const confirm = async () => {
    setIsBusy(true)
    const message = await deleteVm(vm)
    setIsBusy(false)
    if (message === undefined) close()
    else setError(message)
  }
  return (
    <DialogForm
      title="Delete VM"
      submit={{ label: "Delete", kind: "danger" }}
      error={error}
      isBusy={isBusy}
      onSubmit={confirm}
      onClose={close}
    >
      <p>
        Delete{" "}
        <strong>
          <Text of={vm.name} />
        </strong>
        ? Its record and its console log are removed.
      </p>
    </DialogForm>
  )
}
