import type * as OpenApi from "@effect/platform/OpenApi"
import type * as OpenApiJsonSchema from "@effect/platform/OpenApiJsonSchema"
import type * as Context from "effect/Context"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import { defaultAddress, formatAddress } from "../domain/Address.js"

type JsonSchema = OpenApiJsonSchema.JsonSchema
type Transform = Context.Tag.Service<typeof OpenApi.Transform>
type Response = OpenApi.OpenApiSpecResponse

const refTo = (name: string) => `#/components/schemas/${name}`

const schemaOf = ({ content }: { readonly content?: OpenApi.OpenApiSpecContent }) =>
  content?.["application/json"]?.schema

/** Adds a header to an operation's answer: `HttpApi` can't declare one. */
export const withHeader =
  (status: number, name: string, description: string): Transform =>
  ({ responses, ...operation }) => ({
    ...operation,
    responses: {
      ...responses,
      [status]: {
        ...responses[status],
        headers: { ...responses[status].headers, [name]: { description, schema: { type: "string" } } }
      }
    }
  })

/** A request's body that may be left out. JSON Schema has no `undefined`: `withOptionalBody` removes what stands for it. */
export const optionalBody = <A, I>(schema: Schema.Schema<A, I>) =>
  Schema.Union(schema, Schema.Undefined.annotations({ jsonSchema: { type: "null" } }))

/** Documents an `optionalBody`. */
export const withOptionalBody: Transform = ({ requestBody, ...operation }) => {
  const schema = requestBody && schemaOf(requestBody)
  const [body] = schema !== undefined && "anyOf" in schema ? schema.anyOf : []
  if (body === undefined) return operation
  return { ...operation, requestBody: { content: { "application/json": { schema: body } }, required: false } }
}

/** Documents a call that needs no token. */
export const withoutToken: Transform = (operation) => ({ ...operation, security: [{}] })

/** `HttpApi` declares an error of its own on every call; Nexus sends `BadRequest` instead. */
const libraryErrors = ["HttpApiDecodeError", "Issue", "PropertyKey"]

/** Allows properties that are not listed, at every depth. */
const open = (schema: JsonSchema): JsonSchema => {
  if ("properties" in schema) {
    return { ...schema, properties: Record.map(schema.properties, open), additionalProperties: true }
  }
  if ("items" in schema && schema.items !== undefined) {
    return { ...schema, items: Array.isArray(schema.items) ? schema.items.map(open) : open(schema.items) }
  }
  return schema
}

/** Descriptions of all errors of one status, where the library takes the first one's. */
const describe = (response: Response, schemas: Readonly<Record<string, JsonSchema>>): Response => {
  const schema = schemaOf(response)
  if (schema === undefined || !("anyOf" in schema)) return response
  const descriptions = schema.anyOf.flatMap((option) => {
    const [, found] = Object.entries(schemas).find(([name]) => "$ref" in option && option.$ref === refTo(name)) ?? []
    return found !== undefined && "description" in found && found.description !== undefined ? [found.description] : []
  })
  return { ...response, description: descriptions.join("; or: ") }
}

interface Operation extends Omit<OpenApi.OpenAPISpecOperation, "responses"> {
  readonly responses: Readonly<Record<string, Response>>
}

interface Derived extends Pick<OpenApi.OpenAPISpec, "components" | "info"> {
  /** Operations by path and method. */
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const complete = ({ components, info, paths }: Derived) => {
  const schemas = Record.filter(components.schemas, (_, name) => !libraryErrors.includes(name))
  const operations = Object.values(paths).flatMap((path) => Object.values(path))
  const requests = new Set(
    operations.flatMap(({ requestBody }) => {
      const schema = requestBody && schemaOf(requestBody)
      return schema !== undefined && "$ref" in schema ? [schema.$ref] : []
    })
  )
  const badRequest: Response = {
    description: schemas["BadRequest"]?.description ?? "",
    content: { "application/json": { schema: { $ref: refTo("BadRequest") } } }
  }
  return {
    info: { ...info, license: { name: "MIT", identifier: "MIT" } },
    servers: [
      { url: "/", description: "The daemon that serves this document" },
      { url: `http://${formatAddress(defaultAddress)}`, description: "A daemon with default settings" }
    ],
    // An empty requirement: without `api.token_file` no token is needed.
    security: [{}, { token: [] }],
    paths: Record.map(paths, (path) =>
      // The library declares that no call needs one.
      Record.map(path, ({ responses, security = [], ...operation }) => ({
        ...operation,
        ...(security.length > 0 && { security }),
        responses: {
          ...Record.map(responses, (response) => describe(response, schemas)),
          400: badRequest
        }
      }))
    ),
    components: {
      // Clients must accept what a newer daemon adds; the daemon refuses what it does not know.
      schemas: Record.map(schemas, (schema, name) => (requests.has(refTo(name)) ? schema : open(schema))),
      securitySchemes: {
        token: { type: "http", scheme: "bearer", description: "Needed if the daemon's `api.token_file` is set" }
      }
    }
  }
}

/** Completes the document that the library derives from the API's definition. */
export const toDocument: Transform = ({ components, info, paths, ...rest }) => ({
  ...rest,
  ...complete({ components, info, paths })
})
