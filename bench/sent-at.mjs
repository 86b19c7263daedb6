/** A name that holds the present microsecond. */
export const nameSentNow = () => `at-${Math.round((performance.timeOrigin + performance.now()) * 1000)}`

/**
 * Milliseconds since the epoch, of the name in a record's JSON.
 *
 * @param {string} text
 */
export const sentAt = (text) => {
  const found = /"name":"at-(\d+)"/.exec(text)
  return found === null ? undefined : Number(found[1]) / 1000
}
