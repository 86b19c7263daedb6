import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import { text } from "./Reply.js"
import type { Route } from "./Router.js"

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

const get = { method: "GET", takesParameters: false, takesBody: false } as const

/** The OpenAPI document, and a page to read it and try the calls, with nothing fetched from elsewhere. */
export const docs: ReadonlyArray<Route> = [
  {
    ...get,
    path: "/openapi.json",
    answer: () => Effect.map(documents, ({ openApi }) => text(200, "application/json", openApi()))
  },
  {
    ...get,
    path: "/docs",
    answer: () =>
      Effect.map(
        Effect.flatMap(documents, ({ makePage }) => Effect.promise(makePage)),
        (html) =>
          text(200, "text/html; charset=utf-8", html, { "content-security-policy": contentSecurityPolicy(html) })
      )
  }
]
