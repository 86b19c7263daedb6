import { batch, effect, signal } from "@preact/signals"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { CallError } from "../../http/CallError.js"
import type { NexusClient } from "../../http/Client.js"
import { attempt, messageOf, runtime } from "./Daemon.js"
import { applyChange } from "./Inventory.js"
import { isVisible } from "./Visibility.js"

/** `live` while changes arrive. */
export const connection = signal<"connecting" | "live" | "lost">("connecting")

/** `nexusd 0.1.0`, or why there is no connection. */
export const daemonInfo = signal("")

const setLost = (error: CallError) =>
  Effect.sync(() =>
    batch(() => {
      connection.value = "lost"
      daemonInfo.value = messageOf(error)
    })
  )

const setLive = ({ health }: NexusClient["Type"]) =>
  Effect.match(health.check(), {
    onSuccess: ({ version = "" }) => `nexusd ${version}`,
    onFailure: messageOf
  }).pipe(
    Effect.map((info) =>
      batch(() => {
        connection.value = "live"
        daemonInfo.value = info
      })
    )
  )

/** Follows the records. It connects again by itself, and fails if the first attempt does or the daemon refuses. */
const follow = attempt((client) =>
  Stream.runForEach(client.watch({}, { onDisconnect: setLost, onReconnect: setLive(client) }), (change) =>
    Effect.suspend(() => {
      applyChange(change)
      return change.event === "listed" ? setLive(client) : Effect.void
    })
  )
)

const followForever = follow.pipe(
  Effect.catchAll((error) =>
    Effect.zipRight(setLost(error), error._tag === "Unauthorized" ? Effect.never : Effect.void)
  ),
  Effect.zipRight(Effect.sleep("1 second")),
  Effect.forever
)

let fiber: Fiber.RuntimeFiber<never> | undefined

const disconnect = () => {
  if (fiber !== undefined) runtime.runFork(Fiber.interrupt(fiber))
}

/** Connects, or connects again, and stays connected. */
export const connect = () => {
  disconnect()
  fiber = runtime.runFork(followForever)
}

/** Stays connected while the page is visible. */
export const connectWhileVisible = () => effect(() => (isVisible.value ? connect() : disconnect()))
