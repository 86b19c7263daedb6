const units = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60]
] as const

/** The time between two moments in seconds, in one unit: `42s`, `5m`, `3h`, `12d`. */
export const formatAge = (from: number, to: number): string => {
  const seconds = Math.max(0, to - from)
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? ["s", 1]
  return `${Math.floor(seconds / size)}${unit}`
}

const round = (value: number) => value.toLocaleString("en", { maximumFractionDigits: 1 })

/** `512 MiB`, `1.5 GiB`, `2 TiB`. */
export const formatMib = (mib: number): string => {
  if (mib < 1_024) return `${round(mib)} MiB`
  return mib < 1_048_576 ? `${round(mib / 1_024)} GiB` : `${round(mib / 1_048_576)} TiB`
}

/** `2026-02-18 14:30:06 UTC` for seconds since the epoch. */
export const formatTime = (seconds: number): string => {
  const date = new Date(seconds * 1_000)
  return Number.isNaN(date.getTime())
    ? `${seconds}`
    : date
        .toISOString()
        .replace("T", " ")
        .replace(/\.\d+Z$/, " UTC")
}

export const formatCount = (count: number): string => count.toLocaleString("en")
