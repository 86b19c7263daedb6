import { signal } from "@preact/signals"

/**
 * Whether the tab is in view. Over HTTP/1.1 a browser opens six connections to a host, for all tabs together, so a hidden tab
 * follows nothing.
 */
export const isVisible = signal(!document.hidden)

document.addEventListener("visibilitychange", () => {
  isVisible.value = !document.hidden
})
