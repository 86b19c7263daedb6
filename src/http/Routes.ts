import * as HttpApi from "@effect/platform/HttpApi"
import * as Option from "effect/Option"
import * as SchemaAST from "effect/SchemaAST"
import { Api } from "./Api.js"
import { docsPaths } from "./Docs.js"

interface Route {
  readonly method: string
  readonly path: RegExp
  /** Names of the query parameters it takes. */
  readonly parameters: ReadonlyArray<string>
}

const routes: Array<Route> = Object.values(docsPaths).map((path) => ({
  method: "GET",
  path: new RegExp(`^${path}$`),
  parameters: []
}))

HttpApi.reflect(Api, {
  onGroup: () => {},
  onEndpoint: ({ endpoint }) =>
    routes.push({
      method: endpoint.method,
      path: new RegExp(`^${endpoint.path.replace(/:\w+/g, "[^/]+")}$`),
      parameters: Option.match(endpoint.urlParamsSchema, {
        onNone: () => [],
        onSome: ({ ast }) => SchemaAST.getPropertySignatures(ast).map(({ name }) => String(name))
      })
    })
})

const at = (path: string) => routes.filter((route) => route.path.test(path))

/** The methods that a path takes; none when nothing is served there. */
export const methodsOf = (url: string): ReadonlyArray<string> => {
  const methods = at(url.split("?", 1)[0] ?? "").map(({ method }) => method)
  return methods.includes("GET") ? [...methods, "HEAD"] : methods
}

/** The query parameters of a request that its route does not take, which HttpApi passes over when it takes none. */
export const unknownParameters = (method: string, url: string): ReadonlyArray<string> => {
  const start = url.indexOf("?")
  if (start === -1) return []
  const wanted = method === "HEAD" ? "GET" : method
  const route = at(url.slice(0, start)).find((candidate) => candidate.method === wanted)
  if (route === undefined) return []
  const given = new URLSearchParams(url.slice(start)).keys()
  return Array.from(given).filter((name) => !route.parameters.includes(name))
}
