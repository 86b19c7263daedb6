import * as HttpClient from "@effect/platform/HttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Address, formatAddress } from "../../domain/Address.js"
import { clearStatus, isStatusVisible, showStatus } from "../../runtime/StandardStreams.js"

/** An answer that comes sooner is not waited for visibly. */
const delayMillis = 500
const frameMillis = 100
const frames = ["|", "/", "-", "\\"]

let waiting = 0
let timer: NodeJS.Timeout | undefined

const start = (text: string): void => {
  waiting++
  if (timer !== undefined) return
  let frame = 0
  const draw = () => {
    showStatus(`${frames[frame++ % frames.length]} ${text}`)
    timer = setTimeout(draw, frameMillis).unref()
  }
  timer = setTimeout(draw, delayMillis).unref()
}

const stop = (): void => {
  waiting--
  if (waiting > 0) return
  clearTimeout(timer)
  timer = undefined
  clearStatus()
}

/** An `HttpClient` that shows on a terminal that it waits for the head of an answer. */
export const layer = (address: Address) =>
  isStatusVisible()
    ? Layer.function(HttpClient.HttpClient, HttpClient.HttpClient, (client) =>
        HttpClient.transformResponse(client, (call) =>
          Effect.acquireUseRelease(
            Effect.sync(() => start(`Waiting for ${formatAddress(address)}`)),
            () => call,
            () => Effect.sync(stop)
          )
        )
      )
    : Layer.empty
