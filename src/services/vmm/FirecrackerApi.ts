import { Agent, request } from "node:http"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

/** A call of Firecracker's API (firecracker.yaml of its release). */
export interface ApiCall {
  readonly method: "GET" | "PUT" | "PATCH"
  readonly path: string
  readonly body?: object
}

/** Firecracker refused a call, in its own words. */
export class ApiRefusal extends Data.TaggedError("ApiRefusal")<{ readonly path: string; readonly reason: string }> {}

/** There was no answer: no such socket, a connection that was reset, or something that is not HTTP. */
export class ApiUnreachable extends Data.TaggedError("ApiUnreachable")<{ readonly reason: string }> {}

export const isUnreachable = (error: ApiRefusal | ApiUnreachable) => error._tag === "ApiUnreachable"

const faultMessage = (body: string): string => {
  try {
    const fault: unknown = JSON.parse(body)
    if (typeof fault === "object" && fault !== null && "fault_message" in fault) return String(fault.fault_message)
  } catch {
    // Not Firecracker's error format.
  }
  return body
}

/** Makes one call and returns the answer's body. */
export const callApi = (socketPath: string, { body, method, path }: ApiCall, agent?: Agent) =>
  Effect.async<string, ApiRefusal | ApiUnreachable>((resume) => {
    const unreachable = (error: Error) => resume(Effect.fail(new ApiUnreachable({ reason: error.message })))
    const text = body === undefined ? "" : JSON.stringify(body)
    const call = request({
      socketPath,
      agent: agent ?? false,
      method,
      path,
      headers: body === undefined ? {} : { "content-length": Buffer.byteLength(text) }
    })
    call.on("error", unreachable)
    call.on("response", (response) => {
      let answer = ""
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        answer += chunk
      })
      response.on("error", unreachable)
      response.on("end", () => {
        const { statusCode = 0 } = response
        const isRefused = statusCode >= 400
        resume(isRefused ? Effect.fail(new ApiRefusal({ path, reason: faultMessage(answer) })) : Effect.succeed(answer))
      })
    })
    call.end(text)
    return Effect.sync(() => call.destroy())
  })

/** Calls on one connection, which is closed at the end. */
export const apiConnection = (socketPath: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Agent({ keepAlive: true, maxSockets: 1 })),
      (agent) => Effect.sync(() => agent.destroy())
    ),
    (agent) => (call: ApiCall) => callApi(socketPath, call, agent)
  )
