import { signal } from "@preact/signals"

export interface Notice {
  readonly key: number
  readonly message: string
}

const maxNotices = 4
let count = 0

/** Failures that the user has not dismissed, the latest last. */
export const notices = signal<ReadonlyArray<Notice>>([])

/** Shows a failure until it is dismissed. */
export const notify = (message: string) => {
  notices.value = [...notices.value, { key: count++, message }].slice(-maxNotices)
}

export const dismiss = (key: number) => {
  notices.value = notices.value.filter((notice) => notice.key !== key)
}
