import { existsSync, readFileSync } from "node:fs"
import * as Net from "node:net"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { type Answer, parseAnswer } from "../support/HttpBytes.js"
import { call } from "../support/HttpJson.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { mismatches, type OpenApiDocument } from "./OpenApiDocument.js"
import { isFull, report, trials } from "./Report.js"
import { type ApiRequest, apiRequest, garbledRequest, type RawRequest } from "./RequestArbitraries.js"

/** At short scale the machine is busy with other tests. */
const answerTimeoutMillis = trials(5_000, 60_000)

/** What the server sent until it closed the connection. */
interface Exchange {
  readonly answers: ReadonlyArray<Answer>
  /** Bytes after the last complete answer. */
  readonly rest: Buffer
}

const toExchange = (received: Buffer, isHead: boolean): Exchange => {
  const found = parseAnswer(received, isHead)
  if (found === undefined) return { answers: [], rest: received }
  // Only the first answer is known to be one to HEAD, which has no body.
  const { answers, rest } = isHead ? { answers: [], rest: Buffer.alloc(0) } : toExchange(found.rest, false)
  return { answers: found.value.status < 200 ? answers : [found.value, ...answers], rest }
}

/** Whether an answer is a stream of events, which does not end by itself. */
const isEventStream = (bytes: Buffer) =>
  /^HTTP\/1\.1 200 OK\r\n(?:[^\r]+\r\n)*content-type: text\/event-stream\r\n/.test(bytes.toString("latin1", 0, 500))

/** Sends bytes and reads until the connection ends. `mayBeTruncated` ends it after a time, for requests without an end. */
const exchange = (port: number, bytes: Buffer, isHead: boolean, mayBeTruncated: boolean): Promise<Exchange> =>
  new Promise((resolve, reject) => {
    const received: Array<Buffer> = []
    const socket = Net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    const end = mayBeTruncated ? setTimeout(() => socket.end(), 30) : undefined
    const timeout = setTimeout(() => {
      socket.destroy()
      reject(new Error("neither answered nor closed in time"))
    }, answerTimeoutMillis)
    socket.on("data", (part) => {
      received.push(part)
      if (isEventStream(part)) socket.end()
    })
    socket.on("error", () => {})
    socket.once("end", () => socket.destroy())
    socket.once("close", () => {
      clearTimeout(end)
      clearTimeout(timeout)
      try {
        resolve(toExchange(Buffer.concat(received), isHead))
      } catch (error) {
        reject(error)
      }
    })
    socket.write(bytes)
  })

/** What is wrong with an answer to a request that the document does not declare. */
const undeclaredFaults = ({ body, headers, status }: Answer, isHead: boolean): ReadonlyArray<string> => {
  if (status >= 500) return [`status ${status}: ${body.slice(0, 200)}`]
  if (status < 400 || isHead) return []
  try {
    const { error } = JSON.parse(body)
    const isJson = headers["content-type"]?.startsWith("application/json") === true
    return typeof error === "string" && isJson ? [] : [`no error: ${body.slice(0, 100)}`]
  } catch {
    return [`no JSON: ${status} ${body.slice(0, 100)}`]
  }
}

/** What is wrong with the answer to a request, by the document. */
const apiFaults = (document: OpenApiDocument, request: ApiRequest, { answers, rest }: Exchange) => {
  const { hasUnknownField, method, operation } = request
  const [answer] = answers
  if (answer === undefined && isEventStream(rest)) {
    const isDeclared = operation?.responses["200"]?.content?.["text/event-stream"] !== undefined
    return isDeclared ? [] : ["an event stream that is not in the document"]
  }
  if (answer === undefined || answers.length > 1 || rest.length > 0) {
    return [`${answers.length} answers and ${rest.length} bytes`]
  }
  if (operation === undefined || method === "HEAD") return undeclaredFaults(answer, method === "HEAD")
  const response = operation.responses[answer.status]
  if (answer.status >= 500 || response === undefined) return [`status ${answer.status}: ${answer.body.slice(0, 200)}`]
  if (hasUnknownField && answer.status < 400) return [`status ${answer.status} for an unknown field`]
  const schema = response.content?.["application/json"]?.schema
  if (schema === undefined) {
    const isDeclared = Object.hasOwn(response.content ?? {}, answer.headers["content-type"] ?? "")
    return answer.body === "" || isDeclared ? [] : ["a body that is not in the document"]
  }
  return mismatches(document, schema, JSON.parse(answer.body))
}

/** What is wrong with the answers to bytes that need not be a request. */
const garbledFaults = ({ answers, rest }: Exchange, isHead: boolean): ReadonlyArray<string> => [
  ...answers.flatMap((answer) => undeclaredFaults(answer, isHead)),
  // A success may be cut off by garbage that follows its request.
  ...(rest.length === 0 || /^HTTP\/1\.1 2/.test(rest.toString("latin1", 0, 20)) ? [] : ["a truncated answer"])
]

const hasProc = existsSync("/proc/self/status")
const residentMib = ({ child }: Daemon) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "latin1"))?.[1]) / 1024

const seed = Number(process.env["NEXUS_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31))
const clients = 8

/** The smallest request with a fault, and the fault. */
const failureMessage = <A>({ counterexample, errorInstance, numRuns, numShrinks }: FastCheck.RunDetails<[A]>) => {
  const fault = errorInstance instanceof Error ? errorInstance.message : FastCheck.stringify(errorInstance)
  return `run ${numRuns}, shrunk ${numShrinks} times: ${FastCheck.stringify(counterexample?.[0])}: ${fault}`
}

/**
 * Checks requests from several clients at once, and that the daemon is healthy afterwards. FastCheck shrinks a request
 * with a fault. Memory is measured half way and at the end: by then V8 has sized its heap, and the log of events is full.
 */
const fuzz = async <A extends RawRequest>(
  daemon: Daemon,
  count: number,
  request: FastCheck.Arbitrary<A>,
  check: (request: A, onStatus: (status: number) => void) => Promise<ReadonlyArray<string>>
) => {
  const statuses = new Set<number>()
  const memory = { early: 0, late: 0 }
  let checked = 0
  const property = FastCheck.asyncProperty(request, async (one) => {
    const faults = await check(one, (status) => statuses.add(status))
    if (++checked === Math.floor(count / 2) && hasProc) memory.early = residentMib(daemon)
    if (faults.length > 0) throw new Error(faults.join("; "))
  })
  const runs = Array.from({ length: clients }, (_, client) =>
    FastCheck.check(property, { seed: seed + client, numRuns: Math.ceil(count / clients) })
  )
  const failures = (await Promise.all(runs)).filter(({ failed }) => failed).map(failureMessage)
  const replay = `NEXUS_FUZZ_SEED=${seed}`
  expect(failures.length, `${replay}: ${failures.length} of ${clients} clients\n${failures.join("\n")}`).toBe(0)
  if (hasProc) memory.late = residentMib(daemon)
  expect(daemon.child.exitCode, replay).toBe(null)
  expect(await call(daemon, "GET", "/v1/health"), replay).toMatchObject({ status: 200, body: { status: "ok" } })
  // A short run ends before the heap has found its size.
  const factor = isFull ? 1.3 : 2
  if (hasProc) expect(memory.late / memory.early, `memory, ${replay}`).toBeLessThan(factor)
  const sizes = `${memory.early.toFixed(0)} MiB half way, ${memory.late.toFixed(0)} MiB at the end`
  return { statuses, summary: `answers ${Array.from(statuses).sort().join(", ")}; ${sizes}` }
}

const fetchDocument = async (daemon: Daemon) => (await call(daemon, "GET", "/openapi.json")).body as OpenApiDocument

describe(`nexusd${hasProc ? "" : " (memory is skipped: there is no /proc)"}`, () => {
  it("answers requests made from the OpenAPI document as the document says", { timeout: 900_000 }, async ({
    onTestFinished
  }) => {
    const count = trials(20_000, 300)
    const daemon = await startDaemon(makeHome(onTestFinished))
    const document = await fetchDocument(daemon)
    const wrong = { ...(await createVm(daemon, "web")), cid: "3" }
    expect(mismatches(document, { $ref: "#/components/schemas/Vm" }, wrong)).toEqual(["$.cid is no integer"])
    expect(mismatches(document, { $ref: "#/components/schemas/CreateVm" }, { name: "web", vcpu_count: 33 })).toEqual([
      "$.vcpu_count is out of bounds"
    ])
    const outcome = await fuzz(daemon, count, apiRequest(document, daemon.port), async (request, onStatus) => {
      const sent = await exchange(daemon.port, request.bytes, request.method === "HEAD", false)
      for (const { status } of sent.answers) onStatus(status)
      const faults = apiFaults(document, request, sent)
      const location = sent.answers[0]?.headers["location"]
      // The name is free again for smaller requests.
      if (faults.length > 0 && location !== undefined) await call(daemon, "DELETE", location)
      return faults
    })
    const list = { type: "array", items: { $ref: "#/components/schemas/Vm" } }
    expect(mismatches(document, list, await listVms(daemon))).toEqual([])
    // Few requests need not meet every answer.
    for (const status of isFull ? [200, 201, 204, 400, 404, 409] : [200, 400]) {
      expect(outcome.statuses).toContain(status)
    }
    report({
      promise: "fuzz",
      trials: `${count} requests made from the OpenAPI document, valid and not`,
      asserted: "no 5xx, none unanswered for 5 s, each answer as the document says, memory at most 1.3 times",
      result: `0 violations; ${outcome.summary}`
    })
  })

  it("answers random bytes and garbled requests with JSON errors, or closes", { timeout: 900_000 }, async ({
    onTestFinished
  }) => {
    const count = trials(10_000, 300)
    const daemon = await startDaemon(makeHome(onTestFinished))
    const document = await fetchDocument(daemon)
    const outcome = await fuzz(daemon, count, garbledRequest(document, daemon.port), async ({ bytes }, onStatus) => {
      const isHead = bytes.includes("HEAD ")
      const sent = await exchange(daemon.port, bytes, isHead, true)
      for (const { status } of sent.answers) onStatus(status)
      return garbledFaults(sent, isHead)
    })
    expect(outcome.statuses).toContain(400)
    report({
      promise: "fuzz",
      trials: `${count} of random bytes and garbled requests on the socket`,
      asserted: "no 5xx, none open for 5 s, each failure JSON with error, memory at most 1.3 times",
      result: `0 violations; ${outcome.summary}`
    })
  })
})
