import * as HttpApi from "@effect/platform/HttpApi"
import { Api } from "./Api.js"
import { docsPaths } from "./Docs.js"

const routes: Array<{ readonly method: string; readonly path: RegExp }> = Object.values(docsPaths).map((path) => ({
  method: "GET",
  path: new RegExp(`^${path}$`)
}))

HttpApi.reflect(Api, {
  onGroup: () => {},
  onEndpoint: ({ endpoint }) =>
    routes.push({ method: endpoint.method, path: new RegExp(`^${endpoint.path.replace(/:\w+/g, "[^/]+")}$`) })
})

/** The methods that a path takes; none when nothing is served there. */
export const methodsOf = (url: string): ReadonlyArray<string> => {
  const path = url.split("?", 1)[0] ?? ""
  const methods = routes.filter((route) => route.path.test(path)).map(({ method }) => method)
  return methods.includes("GET") ? [...methods, "HEAD"] : methods
}
