import { signal } from "@preact/signals"

const currentSeconds = () => Math.floor(Date.now() / 1_000)

/** Seconds since the epoch, updated every few seconds. */
export const now = signal(currentSeconds())

setInterval(() => {
  now.value = currentSeconds()
}, 5_000)
