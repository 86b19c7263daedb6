import { createHash } from "node:crypto"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Effect from "effect/Effect"
import { Api } from "./Api.js"

/** Where the documents are served. */
export const docsPaths = { page: "/docs", openApi: "/openapi.json" } as const

/** The page is one module with 2 MB of script in it, so it is loaded when somebody asks for it. */
const makePage = () => import("./DocsPage.js").then((module) => module.makePage())

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
    yield* router.get(
      docsPaths.openApi,
      Effect.sync(() => HttpServerResponse.unsafeJson(OpenApi.fromApi(Api)))
    )
    yield* router.get(
      docsPaths.page,
      Effect.map(Effect.promise(makePage), (html) =>
        HttpServerResponse.html(html).pipe(
          HttpServerResponse.setHeader("content-security-policy", contentSecurityPolicy(html))
        )
      )
    )
  })
)
