/** @param {ReadonlyArray<number>} values */
export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}

/**
 * Runs every contender once a round, so that other load on the machine affects all of them alike.
 *
 * @template {string} Name
 * @template Result
 * @param {number} rounds
 * @param {Record<Name, (round: number) => Promise<Result>>} contenders
 * @returns {Promise<Record<Name, Array<Result>>>}
 */
export const alternate = async (rounds, contenders) => {
  const names = /** @type {Array<Name>} */ (Object.keys(contenders))
  const results = /** @type {Record<Name, Array<Result>>} */ (
    Object.fromEntries(names.map((name) => [name, /** @type {Array<Result>} */ ([])]))
  )
  for (let round = 0; round < rounds; round++) {
    for (const name of names) results[name].push(await contenders[name](round))
  }
  return results
}

/** @param {number} value */
export const figure = (value) => {
  if (!Number.isFinite(value)) return String(value)
  if (value >= 100) return Math.round(value).toLocaleString("en")
  return value.toFixed(value >= 10 ? 1 : 2)
}

/**
 * The range of the ratio of two contenders over the rounds, as text.
 *
 * @param {ReadonlyArray<number>} ours
 * @param {ReadonlyArray<number>} theirs
 */
export const spread = (ours, theirs) => {
  const ratios = ours.map((value, round) => value / (theirs[round] ?? Number.NaN)).sort((a, b) => a - b)
  const [least = Number.NaN] = ratios
  return `from ${figure(least)} to ${figure(ratios.at(-1) ?? least)} in ${ratios.length} round${ratios.length === 1 ? "" : "s"}`
}
