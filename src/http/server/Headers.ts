import type { IncomingMessage } from "node:http"

/**
 * How many lines of a header a request has; `name` is in lower case. `headers` keeps one or joins them, and
 * `headersDistinct` copies all headers.
 */
export const countHeader = ({ rawHeaders }: IncomingMessage, name: string): number => {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const other = rawHeaders[index]
    if (other?.length === name.length && other.toLowerCase() === name) count++
  }
  return count
}
