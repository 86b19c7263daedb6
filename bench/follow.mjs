// Subscribers of GET /v1/events, a separate process: follow.mjs PORT COUNT. Names of created records hold the microsecond
// when their request was sent. Sends "ready" once all have their first event; asked for "lags", sends and forgets the
// milliseconds from each create's request to the arrival of its event at each subscriber.
import { connect } from "node:net"
import { sentAt } from "./sent-at.mjs"

const [port = 0, count = 0] = process.argv.slice(2).map(Number)

/** @type {Array<number>} */
let lags = []

/** @returns {Promise<void>} */
const follow = () =>
  new Promise((resolve, reject) => {
    let rest = ""
    const socket = connect({ host: "127.0.0.1", port, noDelay: true })
    socket.setEncoding("latin1")
    socket.on("error", reject)
    socket.on("close", () => {
      console.error("a subscriber was disconnected")
      process.exit(1)
    })
    socket.on("data", (text) => {
      const now = performance.timeOrigin + performance.now()
      const events = (rest + text).split("\n\n")
      rest = events.pop() ?? ""
      for (const event of events) {
        if (event.includes("event: ready")) resolve()
        const sent = sentAt(event)
        if (sent !== undefined) lags.push(now - sent)
      }
    })
    socket.write(`GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`)
  })

// Until its request has arrived, a connection counts against nexusd's limit of 512.
for (let begun = 0; begun < count; begun += 100) {
  await Promise.all(Array.from({ length: Math.min(100, count - begun) }, follow))
}
process.on("message", () => {
  process.send?.(lags)
  lags = []
})
process.send?.("ready")
