import { readFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { resolve } from "node:path"
import { gzipSync } from "node:zlib"
import { defineConfig } from "vitest/config"

/** The variables by which a user sets up Nexus and the programs that tests start; some are read by the tests too. */
const isUserSetting = (name: string) =>
  /^(?:NEXUS_|OTEL_|XDG_|LC_|PG)|^(?:LANG|LANGUAGE|NODE_OPTIONS|NODE_USE_ENV_PROXY|FORCE_COLOR|NO_COLOR)$/.test(name) &&
  !/^NEXUS_(?:FAULTS|FAULTS_REPORT|FUZZ_SEED|SEED)$/.test(name)

// The workers inherit this. Proxies stay, for npm: Node.js uses them only where NODE_USE_ENV_PROXY says so.
for (const name of Object.keys(process.env)) if (isUserSetting(name)) delete process.env[name]
Object.assign(process.env, { LANG: "C.UTF-8", TZ: "UTC" })

const { version } = JSON.parse(readFileSync("package.json", "utf8"))

/** Stands for the page that scripts/web.mjs builds. */
const webPage = {
  path: "/",
  contentType: "text/html; charset=utf-8",
  gzip: gzipSync("<!DOCTYPE html><title>Nexus</title>").toString("base64")
}

export default defineConfig({
  define: {
    NEXUS_VERSION: JSON.stringify(version),
    NEXUS_WEB_PATHS: JSON.stringify(["/"]),
    NEXUS_WEB_ASSETS: JSON.stringify([webPage])
  },
  // As scripts/build.mjs does.
  resolve: { alias: [{ find: /^better-sqlite3$/, replacement: resolve("src/services/sqlite/SqliteDriver.cjs") }] },
  test: {
    server: { deps: { inline: ["@effect/sql-sqlite-node"] } },
    include: ["test/**/*.test.ts"],
    // Far above what a test takes: a busy machine is no defect.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // vitest's default is one less. Most tests wait for other processes.
    maxWorkers: availableParallelism(),
    sequence: { concurrent: false },
    reporters: process.env["CI"] ? ["default", "json"] : ["default"],
    outputFile: { json: "test-report.json" }
  }
})
