import * as Net from "node:net"
import { type Answer, parseAnswer } from "./HttpBytes.js"

/** A TCP connection to a daemon, for requests that an HTTP client would not send. */
export interface Connection {
  /** Sends each character as one byte (latin1). */
  readonly send: (text: string) => void
  /** Waits for the next answer; fails when the connection ends without one. */
  readonly answer: () => Promise<Answer>
  readonly closed: Promise<void>
}

/** Opens a connection; `atEnd` closes it. */
export const connect = async (port: number, atEnd: (dispose: () => void) => void): Promise<Connection> => {
  const socket = Net.connect(port, "127.0.0.1")
  atEnd(() => void socket.destroy())
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject))
  let received = Buffer.alloc(0)
  let isOpen = true
  socket.on("data", (part) => {
    received = Buffer.concat([received, part])
  })
  const closed = new Promise<void>((resolve) => {
    socket
      .on("error", () => {})
      .once("close", () => {
        isOpen = false
        resolve()
      })
  })
  const dataOrClose = () =>
    new Promise<void>((resolve) => {
      const onEvent = () => {
        socket.off("data", onEvent).off("close", onEvent)
        resolve()
      }
      socket.on("data", onEvent).on("close", onEvent)
    })
  return {
    closed,
    send: (text) => void socket.write(text, "latin1"),
    answer: async () => {
      for (;;) {
        const found = parseAnswer(received)
        if (found !== undefined) {
          received = Buffer.from(found.rest)
          return found.value
        }
        if (!isOpen) throw new Error(`the connection ended after ${JSON.stringify(received.toString("latin1"))}`)
        await dataOrClose()
      }
    }
  }
}
