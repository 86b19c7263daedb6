import { useSignalEffect } from "@preact/signals"
import { useEffect } from "preact/hooks"
import { escapeText } from "../../runtime/TerminalText.js"
import { tokenRequest } from "../state/Daemon.js"
import { vms } from "../state/Inventory.js"
import { shownId } from "../state/Route.js"
import { ConnectionStatus } from "./ConnectionStatus.js"
import { CreateDialog, isCreating } from "./CreateDialog.js"
import { DeleteDialog, vmToDelete } from "./DeleteDialog.js"
import { NoticeList } from "./NoticeList.js"
import { TokenDialog } from "./TokenDialog.js"
import { filterId, Toolbar } from "./Toolbar.js"
import { TotalsTiles } from "./TotalsTiles.js"
import { VmPage } from "./VmPage.js"
import { VmTable } from "./VmTable.js"

/** `/` goes to the filter, `n` creates a VM. */
const onKeyDown = (event: KeyboardEvent) => {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input, select, textarea, dialog *")
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return
  if (event.key === "n") isCreating.value = true
  else if (event.key === "/") document.getElementById(filterId)?.focus()
  else return
  event.preventDefault()
}

const List = () => (
  <main>
    <h1 class="visually-hidden">Virtual machines</h1>
    <TotalsTiles />
    <Toolbar />
    <VmTable />
  </main>
)

export const App = () => {
  useEffect(() => {
    addEventListener("keydown", onKeyDown)
    return () => removeEventListener("keydown", onKeyDown)
  }, [])
  useSignalEffect(() => {
    const vm = shownId.value === undefined ? undefined : vms.value.get(shownId.value)
    document.title = vm === undefined ? "Nexus" : `${escapeText(vm.name)} · Nexus`
  })
  const id = shownId.value
  return (
    <>
      <header>
        <a class="brand" href="#/">
          Nexus
        </a>
        <ConnectionStatus />
        <a href="/docs">API</a>
      </header>
      {id === undefined ? <List /> : <VmPage id={id} />}
      {isCreating.value && <CreateDialog />}
      {vmToDelete.value !== undefined && <DeleteDialog vm={vmToDelete.value} />}
      {tokenRequest.value !== undefined && <TokenDialog message={tokenRequest.value} />}
      <NoticeList />
    </>
  )
}
