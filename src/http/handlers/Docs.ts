import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import { HttpResponse } from "../server/HttpResponse.js"
import type { Route } from "../server/Router.js"
import { staticRoute } from "./StaticRoute.js"

/** The documents are one module with 2 MB of script in it, so it is loaded when somebody asks for them. */
const documents = Effect.promise(() => import("./DocsPage.js"))

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
export const docs: ReadonlyArray<Route> = [
  staticRoute("/openapi.json", () =>
    Effect.map(documents, ({ openApi }) => HttpResponse.bytes("application/json", openApi()))
  ),
  staticRoute("/docs", () =>
    Effect.map(
      Effect.flatMap(documents, ({ makePage }) => Effect.promise(makePage)),
      (content) =>
        HttpResponse.bytes("text/html; charset=utf-8", content, {
          headers: { "content-security-policy": contentSecurityPolicy(content) }
        })
    )
  )
]
