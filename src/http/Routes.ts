import * as HttpApi from "@effect/platform/HttpApi"
import * as Option from "effect/Option"
import { Api } from "./Api.js"
import { docsPaths } from "./Docs.js"

interface Route {
  readonly method: string
  readonly path: RegExp
  /** Whether it takes query parameters, which are checked by their schema then. */
  readonly takesParameters: boolean
}

const routes: Array<Route> = Object.values(docsPaths).map((path) => ({
  method: "GET",
  path: new RegExp(`^${path}$`),
  takesParameters: false
}))

HttpApi.reflect(Api, {
  onGroup: () => {},
  onEndpoint: ({ endpoint }) =>
    routes.push({
      method: endpoint.method,
      path: new RegExp(`^${endpoint.path.replace(/:\w+/g, "[^/]+")}$`),
      takesParameters: Option.isSome(endpoint.urlParamsSchema)
    })
})

const at = (path: string) => routes.filter((route) => route.path.test(path))

/** The methods that a path takes; none when nothing is served there. */
export const methodsOf = (url: string): ReadonlyArray<string> => {
  const methods = at(url.split("?", 1)[0] ?? "").map(({ method }) => method)
  return methods.includes("GET") ? [...methods, "HEAD"] : methods
}

/** The query parameters of a request that HttpApi would pass over: any on a route that takes none, and `__proto__`. */
export const unknownParameters = (method: string, url: string): ReadonlyArray<string> => {
  const start = url.indexOf("?")
  if (start === -1) return []
  const wanted = method === "HEAD" ? "GET" : method
  const route = at(url.slice(0, start)).find((candidate) => candidate.method === wanted)
  if (route === undefined) return []
  const given = Array.from(new URLSearchParams(url.slice(start)).keys())
  return given.filter((name) => !route.takesParameters || name === "__proto__")
}
