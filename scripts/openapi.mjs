// Writes the OpenAPI document of the API's definition to a file. Needs neither dist/ nor a running nexusd.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { build } from "esbuild"

const file = "node_modules/.cache/nexus/openapi.json"
const { version } = JSON.parse(readFileSync("package.json", "utf8"))
const bundled = await build({
  stdin: {
    contents: `
      import { fromApi } from "@effect/platform/OpenApi"
      import { Api } from "./src/http/Api.js"
      export const document = fromApi(Api)
    `,
    resolveDir: "."
  },
  bundle: true,
  platform: "node",
  format: "esm",
  define: { NEXUS_VERSION: JSON.stringify(version) },
  write: false
})
const [{ text = "" } = {}] = bundled.outputFiles
const { document } = await import(`data:text/javascript,${encodeURIComponent(text)}`)
mkdirSync(dirname(file), { recursive: true })
writeFileSync(file, `${JSON.stringify(document, null, 2)}\n`)
