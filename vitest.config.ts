import { readFileSync } from "node:fs"
import { defineConfig } from "vitest/config"

const { version } = JSON.parse(readFileSync("package.json", "utf8"))

export default defineConfig({
  define: { NEXUS_VERSION: JSON.stringify(version) },
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    sequence: { concurrent: false },
    reporters: process.env["CI"] ? ["default", "json"] : ["default"],
    outputFile: { json: "test-report.json" }
  }
})
