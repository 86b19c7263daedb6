import * as Crypto from "node:crypto"
import * as Either from "effect/Either"
import { PreconditionFailed } from "../../domain/Errors.js"
import { Vm } from "../../domain/Vm.js"
import type { Precondition } from "../../domain/VmTransition.js"
import { type Preconditions, parseEntityTags } from "../EntityTag.js"

const fields = Object.keys(Vm.fields) as ReadonlyArray<keyof Vm>
const positions = new Map<string, number>(fields.map((field, index) => [field, index]))

/** Whether the record has its fields in the schema's order, as those of stores have, and no others. */
const isInOrder = (vm: Vm): boolean => {
  let last = -1
  for (const field in vm) {
    const position = positions.get(field)
    if (position === undefined || position <= last) return false
    last = position
  }
  return true
}

/** The JSON of a record, with its fields in the schema's order. */
export const toJson = (vm: Vm): string =>
  JSON.stringify(isInOrder(vm) ? vm : Object.fromEntries(fields.map((field) => [field, vm[field]])))

/** 128 bits. Node 20.12 has `hash`, which takes half as long. */
const digest = (text: string): string =>
  (Crypto.hash?.("sha256", text, "base64url") ?? Crypto.createHash("sha256").update(text).digest("base64url")).slice(
    0,
    22
  )

/** The JSON of a record and its strong entity tag: the same for the same fields, however the record was made. */
export const tagged = (vm: Vm): { readonly json: string; readonly tag: string } => {
  const json = toJson(vm)
  return { json, tag: `"${digest(json)}"` }
}

export const entityTag = (vm: Vm): string => tagged(vm).tag

/** Strong comparison (RFC 9110, 8.8.3.2): a weak tag never matches. */
const isMatch = (header: string, tag: string | undefined): boolean => {
  const tags = parseEntityTags(header)
  if (tag === undefined || tags === undefined) return false
  return tags === "*" || tags.some(({ isWeak, opaque }) => opaque === tag && !isWeak)
}

/** Weak comparison: a weak tag matches as well. */
const isWeakMatch = (header: string, tag: string | undefined): boolean => {
  const tags = parseEntityTags(header)
  if (tag === undefined || tags === undefined) return false
  return tags === "*" || tags.some(({ opaque }) => opaque === tag)
}

/** Whether a GET's If-None-Match has the record's tag. */
export const isUnmodified = ({ "if-none-match": header }: Preconditions, tag: string): boolean =>
  header !== undefined && isWeakMatch(header, tag)

/** What the headers of a request require of the VM that it names. */
export const preconditionOf = (
  { "if-match": ifMatch, "if-none-match": ifNoneMatch }: Preconditions,
  nameOrId: string
): Precondition | undefined => {
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined
  return (vm) => {
    const tag = vm && entityTag(vm)
    if (ifMatch !== undefined && !isMatch(ifMatch, tag)) {
      return Either.left(vm === undefined ? PreconditionFailed.missing(nameOrId) : PreconditionFailed.changed(vm.name))
    }
    if (ifNoneMatch !== undefined && isWeakMatch(ifNoneMatch, tag)) {
      const { exists, unchanged } = PreconditionFailed
      return Either.left((parseEntityTags(ifNoneMatch) === "*" ? exists : unchanged)(vm?.name ?? nameOrId))
    }
    return Either.void
  }
}
