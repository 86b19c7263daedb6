import { createHash } from "node:crypto"
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as OpenApi from "@effect/platform/OpenApi"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Api } from "./Api.js"

/** Where the documents are served. */
export const docsPaths = { page: "/docs", openApi: "/openapi.json" } as const

/** Swagger UI is one module with 2 MB of script in it, so it is loaded when somebody asks for the page. */
const makePage = async (api: Context.Tag.Service<HttpApi.Api>): Promise<string> => {
  const HttpApiSwagger = await import("@effect/platform/HttpApiSwagger")
  const { dispose, handler } = HttpApiBuilder.toWebHandler(
    HttpApiSwagger.layer({ path: docsPaths.page }).pipe(
      Layer.provideMerge(Layer.succeed(HttpApi.Api, api)),
      Layer.merge(HttpServer.layerContext)
    )
  )
  const response = await handler(new Request(`http://localhost${docsPaths.page}`))
  return response.text().finally(dispose)
}

/** Only the page's own script runs, and it reaches this daemon alone. Swagger UI sets styles and data: images itself. */
const contentSecurityPolicy = (html: string): string => {
  const scripts = Array.from(html.matchAll(/<script>([\s\S]*?)<\/script>/g), ([, script]) =>
    createHash("sha256").update(`${script}`).digest("base64")
  )
  return [
    "default-src 'none'",
    `script-src ${scripts.map((hash) => `'sha256-${hash}'`).join(" ")}`,
    "style-src 'unsafe-inline'",
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join("; ")
}

/** The OpenAPI document, and a page to read it and try the calls, with nothing fetched from elsewhere. */
export const Docs = HttpApiBuilder.Router.use((router) =>
  Effect.gen(function* () {
    const api = yield* HttpApi.Api
    yield* router.get(
      docsPaths.openApi,
      Effect.sync(() => HttpServerResponse.unsafeJson(OpenApi.fromApi(Api)))
    )
    yield* router.get(
      docsPaths.page,
      Effect.map(
        Effect.promise(() => makePage(api)),
        (html) =>
          HttpServerResponse.html(html).pipe(
            HttpServerResponse.setHeader("content-security-policy", contentSecurityPolicy(html))
          )
      )
    )
  })
)
