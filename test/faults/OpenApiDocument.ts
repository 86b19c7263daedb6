/** As much of a JSON Schema as Nexus's OpenAPI document uses. */
export interface Schema {
  readonly $ref?: string
  readonly anyOf?: ReadonlyArray<Schema>
  readonly type?: string
  readonly enum?: ReadonlyArray<unknown>
  readonly minimum?: number
  readonly maximum?: number
  readonly required?: ReadonlyArray<string>
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: boolean
  readonly items?: Schema
}

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>
}

export interface Operation {
  readonly parameters?: ReadonlyArray<{ readonly name: string; readonly in: string; readonly schema: Schema }>
  readonly requestBody?: Content
  readonly responses: Readonly<Record<string, Content>>
}

/** As much of an OpenAPI document as Nexus uses. */
export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

/** Follows a reference to a named schema. */
export const resolve = (document: OpenApiDocument, schema: Schema): Schema =>
  schema.$ref === undefined ? schema : (document.components.schemas[schema.$ref.split("/").at(-1) ?? ""] ?? {})

const hasType = (type: string | undefined, value: unknown): boolean => {
  if (type === undefined) return true
  if (type === "integer") return Number.isInteger(value)
  if (type === "array") return Array.isArray(value)
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value)
  return typeof value === type
}

/** Every place where a value does not match its schema. */
export const mismatches = (
  document: OpenApiDocument,
  given: Schema,
  value: unknown,
  path = "$"
): ReadonlyArray<string> => {
  const schema = resolve(document, given)
  if (schema.anyOf !== undefined) {
    return schema.anyOf.some((option) => mismatches(document, option, value).length === 0)
      ? []
      : [`${path} matches no option`]
  }
  if (!hasType(schema.type, value)) return [`${path} is no ${schema.type}`]
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${path} is none of ${schema.enum.join()}`]
  if (typeof value === "number" && (value < (schema.minimum ?? value) || value > (schema.maximum ?? value))) {
    return [`${path} is out of bounds`]
  }
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => mismatches(document, schema.items ?? {}, item, `${path}[${index}]`))
  }
  if (schema.type !== "object") return []
  const { additionalProperties, properties = {}, required = [] } = schema
  const fields = Object.entries(value as object)
  return [
    ...required.filter((name) => !fields.some(([field]) => field === name)).map((name) => `${path}.${name} is missing`),
    ...fields.flatMap(([name, field]) =>
      Object.hasOwn(properties, name)
        ? mismatches(document, properties[name] ?? {}, field, `${path}.${name}`)
        : additionalProperties === false
          ? [`${path}.${name} is not in the document`]
          : []
    )
  ]
}
