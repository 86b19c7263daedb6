import type * as Net from "node:net"
import type { AtEnd } from "./Home.js"

/** Makes a server listen on a free port of 127.0.0.1. At the end it is closed, with its connections. */
export const listen = async (server: Net.Server, atEnd: AtEnd) => {
  const sockets = new Set<Net.Socket>()
  server.on("connection", (socket) => {
    sockets.add(socket.on("error", () => {}))
  })
  atEnd(async () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as Net.AddressInfo
  return { port, address: `127.0.0.1:${port}` }
}
