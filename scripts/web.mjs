// Builds the web page of src/web: its script and styles, each one file named by a hash of its content, compressed.
import { readFileSync } from "node:fs"
import { basename, extname } from "node:path"
import { constants, gzipSync } from "node:zlib"
import { build } from "esbuild"
import { unusedByClients, without } from "./unused-modules.mjs"

const contentTypes = /** @type {const} */ ({
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml"
})

/** @param {string} path */
const contentTypeOf = (path) => {
  const extension = extname(path)
  if (!(extension in contentTypes)) throw new Error(`no content type for ${path}`)
  return contentTypes[/** @type {keyof typeof contentTypes} */ (extension)]
}

/**
 * @param {string} path
 * @param {Uint8Array | string} content
 */
const toAsset = (path, content) => ({
  path,
  contentType: contentTypeOf(path === "/" ? "index.html" : path),
  gzip: gzipSync(content, { level: constants.Z_BEST_COMPRESSION }).toString("base64")
})

/**
 * Returns the page's files; the first is `/`.
 *
 * @param {string} version
 */
export const buildWebPage = async (version) => {
  const { outputFiles } = await build({
    entryPoints: { nexus: "src/web/main.tsx", style: "src/web/style.css", icon: "src/web/icon.svg" },
    entryNames: "[name]-[hash]",
    outdir: "/assets",
    loader: { ".svg": "copy" },
    bundle: true,
    platform: "browser",
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    minify: true,
    legalComments: "none",
    define: { NEXUS_VERSION: JSON.stringify(version) },
    plugins: [without(unusedByClients)],
    logLevel: "warning",
    write: false
  })
  /** The path of a built file, by its name in src/web/index.html: `/assets/nexus-4RZ7D2QX.js` for `nexus.js`. */
  const paths = new Map(outputFiles.map(({ path }) => [basename(path).replace(/-\w+\./, "."), path]))
  const html = readFileSync("src/web/index.html", "utf8").replace(/\{\{(.+?)\}\}/g, (_, name) => {
    const path = paths.get(name)
    if (path === undefined) throw new Error(`src/web/index.html names ${name}, which is not built`)
    return path
  })
  return [toAsset("/", html), ...outputFiles.map(({ contents, path }) => toAsset(path, contents))]
}
