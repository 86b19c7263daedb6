// The load generator, a separate process. Its keep-alive connections send ready-made requests, each the next one as soon
// as the last was answered. Jobs arrive one at a time over IPC.
import { connect } from "node:net"
import { ResponseReader } from "./response-reader.mjs"
import { median } from "./statistics.mjs"

/**
 * @typedef {object} Job
 * @property {number} port
 * @property {number} connections
 * @property {ReadonlyArray<string>} requests sent in turn; from the first again when `count` or `millis` wants more
 * @property {number} status that every answer must have
 * @property {number} [count] of requests, all of `requests` once by default
 * @property {number} [millis] to send requests for, instead of a count
 * @property {string} [longRequest] a request whose answer takes long: `requests` are sent until it ends
 *
 * @typedef {object} Outcome
 * @property {number} answers
 * @property {number} millis from the first request to the last answer
 * @property {number} median milliseconds from a request to the end of its answer
 * @property {number} longest
 * @property {number} bodyBytes of the last answer
 * @property {number} busy the share of the time that the load generator computed; below 1 it was not the bottleneck
 * @property {{ millis: number, bodyBytes: number }} [longAnswer]
 */

/**
 * Opens a connection that has at most one request in flight.
 *
 * @param {number} port
 * @param {(status: number, bodyBytes: number) => void} onAnswer
 * @returns {Promise<import("node:net").Socket>}
 */
const open = (port, onAnswer) =>
  new Promise((resolve, reject) => {
    const reader = new ResponseReader(onAnswer)
    const socket = connect({
      host: "127.0.0.1",
      port,
      noDelay: true,
      onread: {
        // Every read reuses this memory: the reader keeps nothing.
        buffer: Buffer.allocUnsafe(64 * 1024),
        callback: (length, bytes) => {
          reader.read(/** @type {Buffer} */ (bytes), length)
          return true
        }
      }
    })
    socket.once("connect", () => resolve(socket))
    socket.once("error", reject)
  })

/**
 * @param {string} request
 * @param {number} port
 */
const toBytes = (request, port) => Buffer.from(request.replace("\r\n", `\r\nHost: 127.0.0.1:${port}\r\n`))

/** @param {import("node:net").Socket} socket */
const close = (socket) => void socket.removeAllListeners("close").destroy()

/**
 * @param {Job} job
 * @returns {Promise<Outcome>}
 */
const run = (job) =>
  new Promise((resolve, reject) => {
    const requests = job.requests.map((request) => toBytes(request, job.port))
    const wanted = job.count ?? requests.length
    const isTimed = job.millis !== undefined || job.longRequest !== undefined
    /** @type {Array<number>} */
    const waits = []
    /** @type {Array<import("node:net").Socket>} */
    const sockets = []
    /** @type {Outcome["longAnswer"]} */
    let longAnswer
    let sent = 0
    let underWay = 0
    let lastBytes = 0
    let begun = 0
    let cpu = process.cpuUsage()

    const isOver = () => {
      if (job.longRequest !== undefined) return longAnswer !== undefined
      return isTimed ? performance.now() - begun >= (job.millis ?? 0) : sent >= wanted
    }

    const finish = () => {
      const millis = performance.now() - begun
      const { system, user } = process.cpuUsage(cpu)
      for (const socket of sockets) close(socket)
      resolve({
        answers: waits.length,
        millis,
        median: median(waits),
        longest: waits.reduce((longest, wait) => Math.max(longest, wait), 0),
        bodyBytes: lastBytes,
        busy: (system + user) / 1000 / millis,
        ...(longAnswer && { longAnswer })
      })
    }

    const worker = async () => {
      let asked = 0
      const socket = await open(job.port, (status, bodyBytes) => {
        waits.push(performance.now() - asked)
        lastBytes = bodyBytes
        if (status !== job.status) return reject(new Error(`answered with ${status}, not ${job.status}`))
        underWay--
        if (!isOver()) return next()
        // Closed at once: a server may close an idle connection, which would be an error.
        close(socket)
        if (underWay === 0) finish()
      })
      socket.on("close", () => {
        const when = `${Math.round(performance.now() - asked)} ms after its last request`
        reject(new Error(`the server closed a connection ${when}, with ${waits.length} answers of ${job.requests[0]}`))
      })
      sockets.push(socket)
      const next = () => {
        const request = requests[sent++ % requests.length]
        if (request === undefined) return
        underWay++
        asked = performance.now()
        socket.write(request)
      }
      return next
    }

    /** @param {string} request */
    const longWorker = async (request) => {
      const socket = await open(job.port, (status, bodyBytes) => {
        if (status !== 200) return reject(new Error(`the list was answered with ${status}`))
        longAnswer = { millis: performance.now() - begun, bodyBytes }
      })
      socket.on("close", () => reject(new Error("the server closed the list's connection")))
      sockets.push(socket)
      return () => void socket.write(toBytes(request, job.port))
    }

    const start = async () => {
      const others = await Promise.all(
        Array.from({ length: Math.min(job.connections, isTimed ? 1e9 : wanted) }, worker)
      )
      const starts = job.longRequest === undefined ? others : [await longWorker(job.longRequest), ...others]
      begun = performance.now()
      cpu = process.cpuUsage()
      for (const go of starts) go()
    }
    start().catch(reject)
  })

process.on("message", (/** @type {Job} */ job) => {
  run(job).then(
    (outcome) => process.send?.({ outcome }),
    (error) => process.send?.({ error: String(error) })
  )
})
process.on("disconnect", () => process.exit())
