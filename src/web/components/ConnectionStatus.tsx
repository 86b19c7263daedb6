import { connection, daemonInfo } from "../state/Connection.js"
import { Text } from "./Text.js"

const words = { connecting: "Connecting…", live: "Live", lost: "Not connected; trying again…" } as const

/** Whether the page shows the present, and which daemon it is of. */
export const ConnectionStatus = () => (
  <p class={`connection connection-${connection.value}`} role="status">
    <span>{words[connection.value]}</span>
    <Text of={daemonInfo.value} />
  </p>
)
