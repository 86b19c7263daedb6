import { isDeepStrictEqual } from "node:util"

/** As much of a record as the checks look at. */
export interface Sighting {
  readonly id: string
  readonly name: string
  readonly cid: number
}

/** What one answer says of one name; `list` counts as a `get` of every name. */
export interface Operation {
  readonly kind: "create" | "get" | "update" | "replace" | "delete"
  readonly name: string
  /** When the request was sent and when its answer had come, on one clock that shows no time twice. */
  readonly called: number
  /**
   * Where there is no answer: the last moment at which the request can have taken effect. That is when the daemon that was
   * asked had ended, if nobody but the daemon carries requests out; Infinity if a server behind it goes on with them.
   */
  readonly returned: number
  /**
   * Missing if the outcome is unknown: the connection was lost, or the answer said that nobody knows. The request took
   * effect once, at some moment after its call, or never.
   */
  readonly status?: number
  readonly record?: Sighting
  /** What a change sets, which no other change sets, or what a `get` shows. */
  readonly value?: number
  /** The value of the version that the request requires: "none" if it requires that there is no record. */
  readonly requires?: number | "none"
}

/** What the service holds of one name: nothing, or a record. */
type State =
  | {
      /** `?` and the creating operation's place, if that was not answered. */
      readonly id: string
      readonly value: number | undefined
    }
  | undefined

const isMet = (state: State, { requires }: Operation) =>
  requires === undefined || requires === (state === undefined ? "none" : state.value)

/** What a request without an answer makes of a state if it takes effect. */
const effect = (state: State, operation: Operation, place: number): State => {
  const { kind, value } = operation
  if (kind === "create") return state ?? { id: `?${place}`, value }
  if (kind === "get" || !isMet(state, operation)) return state
  if (kind === "replace" && state === undefined) return { id: `?${place}`, value }
  return state === undefined || kind === "delete" ? undefined : { ...state, value }
}

/** What the sequential service would have: the next state if it can give this answer in this state, else `false`. */
const step = (state: State, operation: Operation, place: number, known: ReadonlySet<string>): State | false => {
  const { kind, record, status, value } = operation
  if (status === undefined) return effect(state, operation, place)
  // Not taken on: nothing may have changed.
  if (status === 503) return state
  if (status === 201) {
    const isRight = state === undefined && record !== undefined && isMet(state, operation)
    return isRight && (kind === "create" || kind === "replace") && { id: record.id, value }
  }
  if (kind === "create") return status === 409 && state !== undefined && state
  if (status === 404) return state === undefined && kind !== "replace" && state
  if (status === 412) return !isMet(state, operation) && (state !== undefined || kind === "replace") && state
  if (state === undefined || !isMet(state, operation)) return false
  if (kind === "delete") return status === 204 ? undefined : false
  if (status !== 200 || record === undefined || (kind === "get" && value !== state.value)) return false
  // The record of an unheard creation shows its id here, which can't be that of a creation that was answered.
  const isSame = state.id.startsWith("?") ? !known.has(record.id) : state.id === record.id
  return isSame && { id: record.id, value }
}

/**
 * Whether there is an order of the operations on ONE name in which each takes effect at some moment between its call
 * and its return, and every answer is what a sequential service would have given: the search of Wing and Gong, with
 * the memory of Lowe ("Testing for linearizability", 2017), which never looks twice at the same operations done with
 * the same outcome.
 *
 * A history is linearizable exactly if its part for each name is (Herlihy and Wing, 1990), since operations on one name
 * say nothing of other names. CIDs are what names do share: they are left out here, and `sharedCids` looks at them.
 */
export const isLinearizable = (history: ReadonlyArray<Operation>): boolean => {
  const all = history
    .filter(({ kind, status }) => status !== undefined || kind !== "get")
    .sort((a, b) => a.called - b.called)
  const known = new Set(all.flatMap(({ record, status }) => (status === 201 && record ? [record.id] : [])))
  const done = new Set<number>()
  const visited = new Set<string>()

  /** All before `from` are settled; the operations done reach up to the call at `latest`. */
  const search = (from: number, latest: number, state: State): boolean => {
    let start = from
    // An unanswered operation whose time has passed never took effect.
    const isSettled = (at: number) => {
      const operation = all[at]
      return done.has(at) || (operation?.status === undefined && (operation?.returned ?? 0) < latest)
    }
    while (start < all.length && isSettled(start)) start++
    // What is next takes effect before anything else has returned.
    let limit = Number.POSITIVE_INFINITY
    let isComplete = true
    let ahead = ""
    const next: Array<number> = []
    for (let at = start; at < all.length; at++) {
      const operation = all[at]
      if (operation === undefined || operation.called > limit) break
      if (done.has(at)) {
        ahead += `,${at}`
        continue
      }
      if (isSettled(at)) continue
      next.push(at)
      if (operation.status === undefined) continue
      isComplete = false
      limit = Math.min(limit, operation.returned)
    }
    if (isComplete) return true
    const key = `${start}${ahead} ${latest} ${state?.id} ${state?.value}`
    if (visited.has(key)) return false
    visited.add(key)
    for (const at of next) {
      const operation = all[at]
      if (operation === undefined || operation.called > limit) continue
      const after = step(state, operation, at, known)
      if (after === false) continue
      done.add(at)
      if (search(start, Math.max(latest, operation.called), after)) return true
      done.delete(at)
    }
    return false
  }
  return search(0, 0, undefined)
}

/** The names whose operations fit no sequential order. */
export const violations = (history: ReadonlyArray<Operation>): ReadonlyArray<string> => {
  const byName = new Map<string, Array<Operation>>()
  for (const operation of history) byName.set(operation.name, [...(byName.get(operation.name) ?? []), operation])
  return Array.from(byName).flatMap(([name, operations]) => (isLinearizable(operations) ? [] : [name]))
}

interface Life {
  readonly record: Sighting
  /** By then it certainly was there. */
  from: number
  /** Up to then it certainly was there. */
  until: number
}

/**
 * Records that differ from one sighting to the next, and pairs of records that were certainly there at the same time and
 * have one CID. A record is certainly there from the first answer that shows it to the last call whose answer does.
 */
export const sharedCids = (history: ReadonlyArray<Operation>): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const lives = new Map<string, Life>()
  for (const { called, record, returned, status } of history) {
    if (record === undefined) continue
    const life = lives.get(record.id) ?? { record, from: returned, until: Number.NEGATIVE_INFINITY }
    if (!isDeepStrictEqual(life.record, record)) wrong.push(`${record.id} was ${JSON.stringify([life.record, record])}`)
    life.from = Math.min(life.from, returned)
    // Its creation was called before it was there.
    if (status !== 201) life.until = Math.max(life.until, called)
    lives.set(record.id, life)
  }
  const byStart = Array.from(lives.values())
    .filter(({ from, until }) => from <= until)
    .sort((a, b) => a.from - b.from)
  const holders = new Map<number, Life>()
  for (const life of byStart) {
    const { cid, id } = life.record
    const holder = holders.get(cid)
    if (holder !== undefined && holder.until >= life.from) wrong.push(`${holder.record.id} and ${id} share CID ${cid}`)
    if (holder === undefined || holder.until < life.until) holders.set(cid, life)
  }
  return wrong
}
