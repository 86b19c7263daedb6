import type * as Effect from "effect/Effect"
import { show } from "../domain/Bounds.js"
import { type ApiError, BadRequest, MethodNotAllowed, RouteNotFound } from "./ApiErrors.js"
import type { Reply } from "./Reply.js"

/** What a request holds for its route, as it came. */
export interface Input {
  /** What stands in the place of each `:name` of the route's path, percent-decoded. */
  readonly captured: Readonly<Record<string, string>>
  readonly parameters: URLSearchParams
  /** The parsed JSON of the body, for a route that takes one. */
  readonly body: unknown
}

/** Something that is served. */
export interface Route {
  readonly method: string
  /** Segments parted by `/`; one that begins with `:` stands for any. */
  readonly path: string
  /** Whether it checks query parameters itself; else it takes none. */
  readonly takesParameters: boolean
  readonly takesBody: boolean
  readonly answer: (input: Input) => Effect.Effect<Reply, ApiError>
}

export interface Found extends Pick<Input, "captured" | "parameters"> {
  readonly route: Route
}

const decode = (segment: string): string | undefined => {
  if (!segment.includes("%")) return segment
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

const split = (path: string) => path.split("/")

/** Whether a path's segments are those of a template; one that can't be decoded stands only where any may. */
const isAt = (template: ReadonlyArray<string>, segments: ReadonlyArray<string>) =>
  template.length === segments.length &&
  template.every((wanted, index) => wanted.startsWith(":") || wanted === decode(segments[index] ?? ""))

const none = new URLSearchParams()

/** The query parameters that no schema would see. */
const checkParameters = ({ route: { takesParameters }, parameters }: Found) => {
  if (takesParameters || parameters.size === 0) return undefined
  const strangers = Array.from(parameters.keys())
  const issues = strangers.map((path) => ({ path, message: "is not a parameter of this call" }))
  return new BadRequest({ error: issues.map(({ message, path }) => `${show(path)} ${message}`).join("; "), issues })
}

/** Finds the route of a request, or says why there is none. Paths mean what they say: case and a last `/` count. */
export const router = (routes: ReadonlyArray<Route>) => {
  const table = routes.map((route) => ({ route, template: split(route.path) }))

  return (method: string, url: string): Found | ApiError => {
    const mark = url.indexOf("?")
    const path = mark === -1 ? url : url.slice(0, mark)
    const segments = split(path)
    const here = table.filter(({ template }) => isAt(template, segments))
    // RFC 9110, 9.3.2: HEAD is GET without the body, which node:http leaves out.
    const wanted = method === "HEAD" ? "GET" : method
    const entry = here.find(({ route }) => route.method === wanted)
    if (entry === undefined) {
      const methods = here.map(({ route }) => route.method)
      const allowed = methods.includes("GET") ? [...methods, "HEAD"] : methods
      return allowed.length === 0
        ? new RouteNotFound({ error: `nothing is served at ${show(url)}; GET /openapi.json lists what is` })
        : new MethodNotAllowed({ error: `${show(url)} does not take ${method}, only ${allowed.join(", ")}`, allowed })
    }
    const captured: Record<string, string> = {}
    for (const [index, name] of entry.template.entries()) {
      if (!name.startsWith(":")) continue
      const value = decode(segments[index] ?? "")
      if (value === undefined) {
        return new BadRequest({ error: `${show(url)} is not percent-encoded UTF-8 (RFC 3986, 2.1)` })
      }
      captured[name.slice(1)] = value
    }
    const found = {
      route: entry.route,
      captured,
      parameters: mark === -1 ? none : new URLSearchParams(url.slice(mark))
    }
    return checkParameters(found) ?? found
  }
}
