import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { CreateVm, createDefaults, MemSizeMib, VcpuCount } from "../../domain/Vm.js"

/** The texts of the form's fields. */
export type FormTexts = Readonly<Record<"name" | "role" | "vcpu_count" | "mem_size_mib" | "config_json", string>>

export const emptyForm: FormTexts = {
  name: "",
  role: createDefaults.role,
  vcpu_count: `${createDefaults.vcpu_count}`,
  mem_size_mib: `${createDefaults.mem_size_mib}`,
  config_json: ""
}

/** Messages by field. */
export type FieldErrors = Readonly<Partial<Record<string, string>>>

/** Messages of issues by the field that their path begins with. */
const fieldErrors = (issues: ReadonlyArray<ParseResult.ArrayFormatterIssue>): FieldErrors => {
  const errors: Record<string, string> = {}
  for (const { message, path } of issues) {
    const [field = "", ...inner] = path
    const text = inner.length === 0 ? message : `${inner.join(".")}: ${message}`
    const name = String(field)
    errors[name] = errors[name] === undefined ? text : `${errors[name]}; ${text}`
  }
  return errors
}

const decode = Schema.decodeUnknownEither(CreateVm)

const toNumber = (text: string) => (text.trim() === "" ? {} : { value: Number(text) })

/** Reads the form by the schema of the call; a field without text takes its default. */
export const readForm = ({ config_json, mem_size_mib, name, role, vcpu_count }: FormTexts) => {
  const vcpus = toNumber(vcpu_count)
  const memory = toNumber(mem_size_mib)
  return Either.mapLeft(
    decode({
      name,
      role,
      ...("value" in vcpus && { vcpu_count: vcpus.value }),
      ...("value" in memory && { mem_size_mib: memory.value }),
      ...(config_json.trim() !== "" && { config_json })
    }),
    (error) => fieldErrors(ParseResult.ArrayFormatter.formatErrorSync(error))
  )
}

const boundsOf = ({ ast }: Schema.Schema<number>): { readonly min: number; readonly max: number } => {
  const annotation = Option.getOrElse(SchemaAST.getJSONSchemaAnnotation(ast), () => ({}))
  const bound = (name: string) => Number(Object.entries(annotation).find(([key]) => key === name)?.[1])
  return { min: bound("minimum"), max: bound("maximum") }
}

export const bounds = { vcpu_count: boundsOf(VcpuCount), mem_size_mib: boundsOf(MemSizeMib) } as const
