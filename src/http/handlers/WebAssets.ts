import { gunzipSync } from "node:zlib"

/** A file of the web page, as scripts/web.mjs builds it. */
interface WebAsset {
  readonly path: string
  readonly contentType: string
  /** The content, compressed by gzip, as Base64. */
  readonly gzip: string
}

declare const NEXUS_WEB_ASSETS: ReadonlyArray<WebAsset>

const assets = new Map(
  NEXUS_WEB_ASSETS.map(({ contentType, gzip, path }) => [path, { contentType, gzip: Buffer.from(gzip, "base64") }])
)

/** The content of the page's file at `path`, compressed or not. */
export const readAsset = (path: string, { isGzip }: { readonly isGzip: boolean }) => {
  const asset = assets.get(path)
  if (asset === undefined) throw new Error(`the build has no web page's file ${path}`)
  return { contentType: asset.contentType, bytes: isGzip ? asset.gzip : gunzipSync(asset.gzip) }
}
