import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import { version } from "../../domain/Version.js"
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

const page = (
  path: string,
  response: Effect.Effect<HttpResponse<never>>,
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
  handle: () => response
})

const html = (content: string, policy: string) =>
  HttpResponse.bytes("text/html; charset=utf-8", content, { headers: { "content-security-policy": policy } })

/** What a browser shows at `/`. It has no script, style or image, and its policy allows none. */
const startPage = html(
  `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Nexus</title>
</head>
<body>
<h1>Nexus</h1>
<p>This is nexusd ${version}, the control plane for the Firecracker microVMs of this host.</p>
<ul>
<li><a href="/docs">The API's documentation</a>, where every call can be tried</li>
<li><a href="/openapi.json">The API's OpenAPI document</a></li>
</ul>
</body>
</html>
`,
  "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

/** A start page, the OpenAPI document, and a page to read it and try the calls, with nothing fetched from elsewhere. */
export const docs: ReadonlyArray<Route> = [
  page("/", Effect.succeed(startPage), { isPublic: true }),
  page(
    "/openapi.json",
    Effect.map(documents, ({ openApi }) => HttpResponse.bytes("application/json", openApi()))
  ),
  page(
    "/docs",
    Effect.map(
      Effect.flatMap(documents, ({ makePage }) => Effect.promise(makePage)),
      (content) => html(content, contentSecurityPolicy(content))
    )
  )
]
