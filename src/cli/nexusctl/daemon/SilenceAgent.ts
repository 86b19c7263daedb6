import * as Http from "node:http"
import * as Https from "node:https"
import * as Net from "node:net"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Address } from "../../../domain/Address.js"

/**
 * Calls `onSilence` when one of its connections carries no byte for `seconds` (0: without limit), the name look-up and the connect included.
 * Effect's client can only limit the whole call.
 */
class SilenceAgent extends Http.Agent {
  constructor(
    options: Http.AgentOptions,
    private readonly seconds: number,
    private readonly onSilence: () => void
  ) {
    super(options)
  }

  override createConnection(...args: Parameters<Http.Agent["createConnection"]>) {
    const socket = super.createConnection(...args)
    if (socket instanceof Net.Socket) this.watch(socket)
    return socket
  }

  private watch(socket: Net.Socket): void {
    socket.setTimeout(this.seconds * 1000, () => {
      // After the process was suspended the timer fires before the bytes that arrived meanwhile are read.
      const { bytesRead } = socket
      setImmediate(() => {
        if (socket.bytesRead === bytesRead) this.onSilence()
      })
    })
  }
}

/** The agent of Effect's HTTP client for a daemon, over TCP or a Unix socket. */
export const silenceAgent = (address: Address, seconds: number, onSilence: () => void) => {
  const options = { keepAlive: false, ...("path" in address ? { socketPath: address.path } : {}) }
  return Layer.scoped(
    NodeHttpClient.HttpAgent,
    Effect.acquireRelease(
      Effect.sync(() =>
        NodeHttpClient.HttpAgent.of({
          [NodeHttpClient.HttpAgentTypeId]: NodeHttpClient.HttpAgentTypeId,
          http: new SilenceAgent(options, seconds, onSilence),
          // No daemon is called over TLS, which takes 3 ms to load.
          get https() {
            return new Https.Agent()
          }
        })
      ),
      ({ http }) => Effect.sync(() => http.destroy())
    )
  )
}
