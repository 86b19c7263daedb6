import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import { HttpResponse } from "../server/HttpResponse.js"
import type { Route } from "../server/Router.js"

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

const page = (path: string, response: Effect.Effect<HttpResponse<never>>): Route => ({
  method: "GET",
  path,
  hasUrlParams: false,
  payload: "none",
  defaultStatus: 200,
  isUninterruptible: false,
  handle: () => response
})

/** The OpenAPI document, and a page to read it and try the calls, with nothing fetched from elsewhere. */
export const docs: ReadonlyArray<Route> = [
  page(
    "/openapi.json",
    Effect.map(documents, ({ openApi }) => HttpResponse.bytes("application/json", openApi()))
  ),
  page(
    "/docs",
    Effect.map(
      Effect.flatMap(documents, ({ makePage }) => Effect.promise(makePage)),
      (html) =>
        HttpResponse.bytes("text/html; charset=utf-8", html, {
          headers: { "content-security-policy": contentSecurityPolicy(html) }
        })
    )
  )
]
