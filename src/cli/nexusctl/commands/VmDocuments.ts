import { isDeepStrictEqual } from "node:util"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { preview, truncate } from "../../../domain/Schemas.js"
import { CreateVm, createDefaults, UpdateVm, Vm } from "../../../domain/Vm.js"

type Fields = Readonly<Record<string, unknown>>
type Path = ReadonlyArray<PropertyKey>

/** A VM as a text describes it. Whether its fields are valid is not known yet. */
export interface VmEntry {
  readonly name: string
  readonly fields: Fields
  /** A problem with a field, for people: `document 2: vcpu_count: …`. */
  readonly problem: (path: Path, message: string) => string
}

interface ParsedVms {
  readonly entries: ReadonlyArray<VmEntry>
  readonly problems: ReadonlyArray<string>
}

const isMapping = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The values of a JSON text, or of one that has a JSON text on each line; `undefined` if it is neither. */
const parseJson = (text: string): ReadonlyArray<unknown> | undefined => {
  if (!/^\s*[[{]/.test(text)) return undefined
  for (const texts of [[text], text.trim().split("\n")]) {
    try {
      return texts.map((json): unknown => JSON.parse(json))
    } catch {}
  }
  return undefined
}

const oneLine = (error: unknown): string =>
  truncate((error instanceof Error ? error.message : String(error)).replace(/\s+/g, " ").trim(), 300)

/** The value of each YAML document, or why it has none. */
const parseYaml = (text: string): Effect.Effect<ReadonlyArray<Either.Either<unknown, string>>> =>
  Effect.gen(function* () {
    // Loaded on demand, as for settings files.
    const Yaml = yield* Effect.promise(() => import("yaml"))
    const documents = Yaml.parseAllDocuments(text, { resolveKnownTags: false, stringKeys: true })
    return Array.from(documents, (document) =>
      Either.try({
        try: (): unknown => {
          const [problem] = [...document.errors, ...document.warnings]
          if (problem !== undefined) throw problem
          // Throws where aliases multiply.
          return document.toJS()
        },
        catch: oneLine
      })
    )
  })

/** Reads VMs from YAML or JSON: one or many documents, each of which is a VM or a list of VMs. */
export const parseVms = (text: string): Effect.Effect<ParsedVms> =>
  Effect.gen(function* () {
    const documents = parseJson(text)?.map(Either.right) ?? (yield* parseYaml(text))
    const entries = new Map<string, VmEntry>()
    const problems: Array<string> = []
    for (const [index, document] of documents.entries()) {
      const at = (path: Path, message: string) =>
        `document ${index + 1}: ${path.length === 0 ? "" : `${path.map(String).join(".")}: `}${message}`
      const add = (value: unknown, path: Path) => {
        if (!isMapping(value)) return problems.push(at(path, `expected the fields of a VM, got ${preview(value)}`))
        const { name } = value
        if (name === undefined) return problems.push(at([...path, "name"], "is missing"))
        if (typeof name !== "string") return problems.push(at([...path, "name"], `expected text, got ${preview(name)}`))
        const problem: VmEntry["problem"] = (field, message) => at([...path, ...field], message)
        if (entries.has(name)) return problems.push(problem(["name"], `${preview(name)} is the name of two VMs`))
        return entries.set(name, { name, fields: value, problem })
      }
      if (Either.isLeft(document)) problems.push(at([], document.left))
      else if (Array.isArray(document.right)) document.right.forEach((value, position) => void add(value, [position]))
      else if (document.right !== null) add(document.right, [])
    }
    return { entries: Array.from(entries.values()), problems }
  })

const parsed = (json: string): unknown => {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** A configuration may also be written as what its JSON text holds. */
const configText = (config: unknown, present: string | undefined): unknown => {
  if (!isMapping(config)) return config ?? undefined
  return present !== undefined && isDeepStrictEqual(parsed(present), config) ? present : JSON.stringify(config)
}

/** The fields that a caller decides, with defaults for those left out. */
const wantedFields = ({ fields }: VmEntry, present: Vm | undefined): Fields => ({
  role: createDefaults.role,
  vcpu_count: createDefaults.vcpu_count,
  mem_size_mib: createDefaults.mem_size_mib,
  ...Object.fromEntries(Object.keys(CreateVm.fields).flatMap((key) => (key in fields ? [[key, fields[key]]] : []))),
  config_json: configText(fields["config_json"], present?.config_json)
})

/** The fields of a record that a caller decides. A configuration is written as what its text holds, if that is JSON. */
export const editableFields = (vm: Vm): Fields => {
  const { config_json, mem_size_mib, name, role, vcpu_count } = vm
  const config = config_json === undefined ? undefined : parsed(config_json)
  return {
    name,
    role,
    vcpu_count,
    mem_size_mib,
    ...(config_json !== undefined && { config_json: isMapping(config) ? config : config_json })
  }
}

/** The fields in which an entry and the present record differ. */
export const changedFields = (entry: VmEntry, present: Vm): Fields => {
  const before: Fields = present
  return Object.fromEntries(
    Object.entries(wantedFields(entry, present)).filter(([field, value]) => value !== before[field])
  )
}

/** Fields of no record. One that a newer daemon's record has is read-only, as `state` is. */
const unknownFields = ({ fields }: VmEntry, present: Vm | undefined): ReadonlyArray<string> =>
  Object.keys(fields).filter(
    (field) => !Object.hasOwn(Vm.fields, field) && !(present !== undefined && Object.hasOwn(present, field))
  )

const decode = Schema.decodeUnknownEither(CreateVm)
const decodeUpdate = Schema.decodeUnknownEither(UpdateVm)

const fieldProblems = (entry: VmEntry, error: ParseResult.ParseError): ReadonlyArray<string> =>
  ParseResult.ArrayFormatter.formatErrorSync(error).map(({ message, path }) => entry.problem(path, message))

const unknownFieldProblems = (entry: VmEntry, present: Vm | undefined): ReadonlyArray<string> =>
  unknownFields(entry, present).map((field) => entry.problem([field], "is no field of a VM"))

/** The change of the present record that an entry asks for, or its problems. */
export const decodeChange = (entry: VmEntry, present: Vm): Either.Either<UpdateVm, ReadonlyArray<string>> => {
  const unknown = unknownFieldProblems(entry, present)
  const changed = Object.entries(changedFields(entry, present)).map(([field, value]) => [field, value ?? null])
  const decoded = decodeUpdate(Object.fromEntries(changed))
  if (Either.isLeft(decoded)) return Either.left([...unknown, ...fieldProblems(entry, decoded.left)])
  return unknown.length > 0 ? Either.left(unknown) : Either.right(decoded.right)
}

/**
 * The VM that an entry asks for, `undefined` if the present record is as it says already, or its problems. What stays as it
 * is need not be what could be created here.
 */
export const decodeEntry = (
  entry: VmEntry,
  present: Vm | undefined
): Either.Either<CreateVm | undefined, ReadonlyArray<string>> => {
  const unknown = unknownFieldProblems(entry, present)
  const isUnchanged = present !== undefined && Object.keys(changedFields(entry, present)).length === 0
  const wanted = Object.entries(wantedFields(entry, present)).filter(([, value]) => value !== undefined)
  const decoded = isUnchanged ? Either.right(undefined) : decode(Object.fromEntries(wanted))
  if (Either.isLeft(decoded)) return Either.left([...unknown, ...fieldProblems(entry, decoded.left)])
  return unknown.length > 0 ? Either.left(unknown) : Either.right(decoded.right)
}
