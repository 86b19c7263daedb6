import { useState } from "preact/hooks"
import { connect } from "../state/Connection.js"
import { setToken, tokenRequest } from "../state/Daemon.js"
import { Dialog } from "./Dialog.js"

export const TokenDialog = ({ message }: { readonly message: string }) => {
  const [token, setText] = useState("")
  const close = () => {
    tokenRequest.value = undefined
  }
  const submit = (event: Event) => {
    event.preventDefault()
    setToken(token.trim())
    close()
    connect()
  }
  return (
    <Dialog title="Token" onClose={close}>
      <form onSubmit={submit}>
        <p id="token-message">{message}</p>
        <div class="field">
          <label for="token">Token</label>
          <input
            id="token"
            type="password"
            autocomplete="off"
            required
            aria-describedby="token-message token-hint"
            value={token}
            onInput={({ currentTarget }) => setText(currentTarget.value)}
          />
          <span class="hint" id="token-hint">
            It stays in this tab and is forgotten when the tab is closed.
          </span>
        </div>
        <div class="dialog-buttons">
          <button type="submit" class="primary">
            Continue
          </button>
        </div>
      </form>
    </Dialog>
  )
}
