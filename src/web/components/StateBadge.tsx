import type { Vm } from "../../domain/Vm.js"
import { underway } from "../state/Actions.js"
import { Text } from "./Text.js"

/** A VM's state, or what is being done to it. Its class sets the colour. */
export const StateBadge = ({ vm }: { readonly vm: Vm }) => {
  const doing = underway.value.get(vm.id)
  return (
    <span class={`badge state-${doing === undefined ? vm.state : "underway"}`}>
      {doing === undefined ? <Text of={vm.state} /> : `${doing}…`}
    </span>
  )
}
