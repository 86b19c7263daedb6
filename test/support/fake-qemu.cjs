// A QEMU that runs no guest: a process with a QMP socket. Its state is paused after SIGUSR1, internal-error after SIGUSR2.
const { createServer } = require("node:net")

const [path] = process.argv.flatMap((arg) => /^socket,id=qmp,path=(.*),server=on/.exec(arg)?.slice(1) ?? [])
const connections = new Set()
let status = "running"

createServer((socket) => {
  connections.add(socket)
  socket.on("error", () => {}).on("close", () => connections.delete(socket))
  /** @param {object} message */
  const send = (message) => socket.write(`${JSON.stringify(message)}\r\n`)
  send({ QMP: { version: {}, capabilities: [] } })
  socket.on("data", (text) => {
    for (const command of String(text).split(/(?<=})(?=\{)|\n/)) {
      const { execute, id } = JSON.parse(command)
      send({ return: execute === "query-status" ? { status } : {}, id })
    }
  })
}).listen(path)

/** @param {string} reason */
const stop = (reason) => () => {
  status = reason
  if (reason === "internal-error") process.stderr.write("KVM internal error. Suberror: 1\nemulation failure\n")
  for (const socket of connections) socket.write('{"timestamp":{},"event":"STOP"}\r\n')
}
process.on("SIGUSR1", stop("paused"))
process.on("SIGUSR2", stop("internal-error"))
