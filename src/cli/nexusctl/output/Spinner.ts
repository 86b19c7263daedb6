import * as HttpClient from "@effect/platform/HttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Address, formatAddress } from "../../../domain/Address.js"
import { clearStatus, isStatusVisible, showStatus } from "../../../runtime/StandardStreams.js"

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
  const drawAfter = (millis: number) => {
    // After a busy moment the timer fires before the answer is read that has arrived meanwhile.
    timer = setTimeout(() => setImmediate(draw), millis).unref()
  }
  const draw = () => {
    if (timer === undefined) return
    showStatus(`${frames[frame++ % frames.length]} ${text}`)
    drawAfter(frameMillis)
  }
  drawAfter(delayMillis)
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
