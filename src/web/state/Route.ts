import { computed, signal } from "@preact/signals"

const hash = signal(location.hash)
addEventListener("hashchange", () => {
  hash.value = location.hash
})

/** The id of the VM whose page is shown; `undefined` for the list. */
export const shownId = computed(() => {
  const [, id] = /^#\/vms\/(.+)$/.exec(hash.value) ?? []
  try {
    return id === undefined ? undefined : decodeURIComponent(id)
  } catch {
    return undefined
  }
})

export const listHref = "#/"

export const vmHref = (id: string) => `#/vms/${encodeURIComponent(id)}`
