import * as Effect from "effect/Effect"
import { HttpResponse } from "../server/HttpResponse.js"
import type { Route, RouteInput } from "../server/Router.js"
import { staticRoute } from "./StaticRoute.js"

/** `/`, and the page's other files, whose names have a hash of their content. The build and vitest define it. */
declare const NEXUS_WEB_PATHS: ReadonlyArray<string>

/** Loaded at the first request. */
const assets = Effect.promise(() => import("./WebAssets.js"))

/** No inline script or style, no other host. Trusted Types (w3.org/TR/trusted-types) refuse HTML made of text. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'"
].join("; ")

/** Whether an Accept-Encoding header allows gzip (RFC 9110, 12.5.3). Without a header the content is not compressed. */
const acceptsGzip = ({ "accept-encoding": accepted }: RouteInput["headers"]): boolean =>
  String(accepted ?? "")
    .split(",")
    .some((coding) => /^\s*(?:x-)?gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*$).*)?$/i.test(coding))

const cacheControl = (path: string) => (path === "/" ? "no-cache" : "public, max-age=31536000, immutable")

/** The web page at `/`, with its script, styles and icon. It needs no token; its calls of the API do. */
export const webPage: ReadonlyArray<Route> = NEXUS_WEB_PATHS.map((path) =>
  staticRoute(
    path,
    (headers) =>
      Effect.map(assets, ({ readAsset }) => {
        const isGzip = acceptsGzip(headers)
        const { bytes, contentType } = readAsset(path, { isGzip })
        return HttpResponse.bytes(contentType, bytes, {
          headers: {
            "cache-control": cacheControl(path),
            vary: "accept-encoding",
            ...(isGzip && { "content-encoding": "gzip" }),
            ...(path === "/" && { "content-security-policy": contentSecurityPolicy })
          }
        })
      }),
    { isPublic: true }
  )
)
