import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Layer from "effect/Layer"
import type { Address } from "../domain/Address.js"
import { NexusClient } from "../http/Client.js"
import * as AnswerBody from "./AnswerBody.js"

/**
 * A client for Node.js of the daemon at `address`, over TCP (`{ host: "127.0.0.1", port: 9600 }`) or a Unix socket
 * (`{ path: "/run/user/1000/nexus.sock" }`), with the token that the daemon asks for, if any. Each call has a
 * connection of its own. An answer over 256 MB is a `ResponseError`.
 */
export const layer = (address: Address, token?: string): Layer.Layer<NexusClient> =>
  NexusClient.layer(address, token).pipe(
    Layer.provide(AnswerBody.layer(AnswerBody.maxAnswerBytes)),
    Layer.provide(NodeHttpClient.layerWithoutAgent),
    Layer.provide(
      NodeHttpClient.makeAgentLayer({ keepAlive: false, ...("path" in address && { socketPath: address.path }) })
    )
  )
