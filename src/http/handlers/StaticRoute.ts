import type * as Effect from "effect/Effect"
import type { HttpResponse } from "../server/HttpResponse.js"
import type { Route, RouteInput } from "../server/Router.js"

/** A route of a document, outside the API's definition. */
export const staticRoute = (
  path: string,
  respond: (headers: RouteInput["headers"]) => Effect.Effect<HttpResponse<never>>,
  { isPublic }: Pick<Route, "isPublic"> = { isPublic: false }
): Route => ({
  method: "GET",
  path,
  hasUrlParams: false,
  payload: "none",
  defaultStatus: 200,
  isUninterruptible: false,
  longLived: undefined,
  isPublic,
  handle: ({ headers }) => respond(headers)
})
