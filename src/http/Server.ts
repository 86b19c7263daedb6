import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Api } from "./Api.js"
import { boundary } from "./Boundary.js"
import { Docs } from "./Docs.js"
import { HealthHandlers } from "./HealthHandlers.js"
import { VmHandlers } from "./VmHandlers.js"

/** Paths mean what they say; a name may be as long as a request's head may be. */
const routerConfig = { caseSensitive: true, ignoreTrailingSlash: false, maxParamLength: 65_536 }

const live = HttpApiBuilder.api(Api).pipe(
  Layer.provide([VmHandlers, HealthHandlers]),
  (api) => Layer.provideMerge(Docs, api),
  // As the API's middleware it stands between the router and HttpApi's own encoding of errors, which it forestalls.
  Layer.merge(HttpApiBuilder.middleware(boundary)),
  Layer.provideMerge(HttpApiBuilder.Router.Live),
  Layer.provideMerge(HttpApiBuilder.Middleware.layer),
  Layer.merge(HttpServer.layerContext)
)

/** The whole API as one function of a request, over whatever store is provided. */
export const httpApp = Effect.gen(function* () {
  const context = yield* Layer.build(live)
  const app = yield* Effect.provide(HttpRouter.withRouterConfig(HttpApiBuilder.httpApp, routerConfig), context)
  return Effect.provide(app, context)
})
