import type { ComponentChildren } from "preact"
import { Dialog } from "./Dialog.js"

/** A modal dialog with a form: the error of the last submission, Cancel, and a button that submits it. */
export const DialogForm = ({
  children,
  error,
  isBusy,
  onClose,
  onSubmit,
  submit,
  title
}: {
  readonly title: string
  readonly submit: { readonly label: string; readonly kind: "primary" | "danger" }
  readonly error: string | undefined
  readonly isBusy: boolean
  readonly onSubmit: () => void
  readonly onClose: () => void
  readonly children: ComponentChildren
}) => (
  <Dialog title={title} onClose={onClose}>
    {/* The browser's own validation would hide the API's messages. */}
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault()
        onSubmit()
      }}
    >
      {children}
      <p class="error" role="alert">
        {error}
      </p>
      <div class="dialog-buttons">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button type="submit" class={submit.kind} disabled={isBusy}>
          {submit.label}
        </button>
      </div>
    </form>
  </Dialog>
)
