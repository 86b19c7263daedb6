import { sendRequest } from "./HttpJson.js"

/** One series of a scrape. */
export interface Series {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Reads Prometheus' text format, as far as nexusd writes it. Fails on a line that is none. */
export const parseMetrics = (text: string): ReadonlyArray<Series> =>
  text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, name, labels, value] = /^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      if (name === undefined) throw new Error(`not a sample: ${line}`)
      const pairs = Array.from((labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g), ([, key, text]) => [key, text])
      return { name, labels: Object.fromEntries(pairs), value: Number(value) }
    })

/** The value of the one series with that name that has these labels, or `undefined`. */
export const valueOf = (series: ReadonlyArray<Series>, name: string, labels: Series["labels"] = {}) => {
  const found = series.filter(
    (one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value)
  )
  if (found.length > 1) throw new Error(`${name} ${JSON.stringify(labels)} is ${found.length} series`)
  return found[0]?.value
}

/** Scrapes a daemon. */
export const scrape = async (daemon: { readonly url: string }) => {
  const { headers, status, text } = await sendRequest(daemon, "GET", "/metrics")
  if (status !== 200) throw new Error(`/metrics was answered with ${status}: ${text}`)
  return { contentType: headers["content-type"], text, series: parseMetrics(text) }
}
