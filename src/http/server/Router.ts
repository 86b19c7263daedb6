import type * as Effect from "effect/Effect"
import { preview } from "../../domain/Schemas.js"
import { BadRequest, type HttpError, MethodNotAllowed, RouteNotFound } from "../HttpErrors.js"
import type { HttpResponse } from "./HttpResponse.js"

/** The parts of a request that a route decodes. */
export interface RouteInput {
  /** The segment that each `:name` of the route's path matched, percent-decoded. */
  readonly path: Readonly<Record<string, string>>
  readonly urlParams: Readonly<Record<string, string | ReadonlyArray<string>>>
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  /** The body's JSON; `undefined` without a body. */
  readonly payload: unknown
}

/**
 * `until-stop` waits for something to happen, and fails with `Overloaded` at once when the server stops. `until-done` does
 * something that takes long: the server waits for it as for any other request.
 */
export type LongLived = "until-stop" | "until-done"

export interface Route {
  readonly method: string
  /** Segments separated by `/`; a segment `:name` matches any. */
  readonly path: string
  /** Whether it decodes query parameters; a request with parameters is refused otherwise. */
  readonly hasUrlParams: boolean
  readonly payload: "none" | "required" | "optional"
  readonly defaultStatus: number
  /** A handler that has begun runs to its end, even when the client disconnects. */
  readonly isUninterruptible: boolean
  /** Requests that take long are counted apart from others. */
  readonly longLived: LongLived | undefined
  /** Whether it needs no token. */
  readonly isPublic: boolean
  readonly handle: (input: RouteInput) => BadRequest | Effect.Effect<HttpResponse<unknown, unknown>, unknown>
}

export interface RouteMatch extends Pick<RouteInput, "path" | "urlParams"> {
  readonly route: Route
}

/** The routes of one path, by method. */
interface Resource {
  readonly methods: Map<string, Route>
  readonly names: ReadonlyArray<string>
}

const parameterPattern = /:(\w+)/g

/** A route's path as OpenAPI and OpenTelemetry write it: `/v1/vms/{nameOrId}`. */
export const formatTemplate = (path: string): string => path.replace(parameterPattern, "{$1}")

/** RFC 3986, 6.2.2.2: an unreserved character means the same whether or not it is percent-encoded. */
const decodeUnreserved = (path: string) =>
  path.replace(/%(?:2[DE]|3\d|[46][1-9A-F]|[57][0-9A]|5F|7E)/gi, (encoded) => decodeURIComponent(encoded))

const decodeSegment = (segment: string): string | undefined => {
  if (!segment.includes("%")) return segment
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/** Each parameter's value, or its values where it was given more than once. */
const groupValues = (parameters: URLSearchParams) =>
  Object.fromEntries(
    Array.from(new Set(parameters.keys()), (name) => {
      const values = parameters.getAll(name)
      return [name, values.length === 1 ? `${values[0]}` : values] as const
    })
  )

const unknownParameters = (names: ReadonlyArray<string>) => {
  const issues = names.map((path) => ({ path, message: "is not a parameter of this call" }))
  return new BadRequest({
    message: issues.map(({ message, path }) => `${preview(path)} ${message}`).join("; "),
    issues
  })
}

const none = {}

/** Finds the route of a request, or says why there is none. Letter case and a trailing `/` count. */
export const makeRouter = (routes: ReadonlyArray<Route>) => {
  const fixed = new Map<string, Resource>()
  const templates = new Map<string, Resource & { readonly pattern: RegExp }>()
  for (const route of routes) {
    const names = Array.from(route.path.matchAll(parameterPattern), ([, name]) => `${name}`)
    const known = fixed.get(route.path) ?? templates.get(route.path)
    const resource = known ?? { methods: new Map(), names }
    resource.methods.set(route.method, route)
    // RFC 9110, 9.3.2: HEAD is GET without the body, which node:http leaves out.
    if (route.method === "GET") resource.methods.set("HEAD", route)
    if (known !== undefined) continue
    if (names.length === 0) fixed.set(route.path, resource)
    else {
      const pattern = new RegExp(`^${route.path.replaceAll(".", "\\.").replace(parameterPattern, "([^/]*)")}$`)
      templates.set(route.path, { ...resource, pattern })
    }
  }

  const findResource = (path: string): readonly [Resource, ReadonlyArray<string>] | undefined => {
    const resource = fixed.get(path)
    if (resource !== undefined) return [resource, []]
    for (const template of templates.values()) {
      const match = template.pattern.exec(path)
      if (match !== null) return [template, match.slice(1)]
    }
    return undefined
  }

  return (method: string, url: string): RouteMatch | HttpError => {
    const mark = url.indexOf("?")
    const path = mark === -1 ? url : url.slice(0, mark)
    const found = findResource(path.includes("%") ? decodeUnreserved(path) : path)
    if (found === undefined) {
      return new RouteNotFound({ message: `nothing is served at ${preview(url)}; GET /openapi.json lists what is` })
    }
    const [{ methods, names }, segments] = found
    const route = methods.get(method)
    if (route === undefined) {
      const allowed = Array.from(methods.keys()).sort((a, b) => Number(a === "HEAD") - Number(b === "HEAD"))
      return new MethodNotAllowed({
        message: `${preview(url)} does not take ${method}, only ${allowed.join(", ")}`,
        allowed
      })
    }
    const captured: Record<string, string> = {}
    for (const [index, name] of names.entries()) {
      const value = decodeSegment(segments[index] ?? "")
      if (value === undefined) {
        return new BadRequest({ message: `${preview(url)} is not percent-encoded UTF-8 (RFC 3986, 2.1)` })
      }
      captured[name] = value
    }
    const urlParams = mark === -1 ? none : groupValues(new URLSearchParams(url.slice(mark)))
    const given = mark === -1 || route.hasUrlParams ? [] : Object.keys(urlParams)
    return given.length > 0 ? unknownParameters(given) : { route, path: captured, urlParams }
  }
}
