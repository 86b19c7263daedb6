import { execFile } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { promisify } from "node:util"
import { expect, it } from "vitest"
import { projectFolder } from "../support/Programs.js"

interface Snippet {
  readonly path: string
  readonly code: string
}

/** The code blocks of CONTRIBUTING.md that name a file, whole or in part. */
const snippets: ReadonlyArray<Snippet> = Array.from(
  readFileSync(join(projectFolder, "CONTRIBUTING.md"), "utf8").matchAll(
    /^```ts\n\/\/ (\S+\.ts)(.*)\n([\s\S]*?)^```$/gm
  ),
  ([, path, , code]) => ({ path: `${path}`, code: `${code}` })
)

const codeOf = (path: string) => snippets.find((snippet) => snippet.path === path)?.code ?? ""

/** Inserts `code` before the only place that matches. */
const insertBefore = (text: string, place: RegExp, code: string) => {
  expect(text.split(place)).toHaveLength(2)
  return text.replace(place, (found) => code + found)
}

it("the worked example of CONTRIBUTING.md compiles", async ({ onTestFinished }) => {
  const folder = mkdtempSync(join(tmpdir(), "nexus-example-"))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const name of ["src", "package.json", "tsconfig.json"]) {
    cpSync(join(projectFolder, name), join(folder, name), { recursive: true })
  }
  symlinkSync(join(projectFolder, "node_modules"), join(folder, "node_modules"))
  const edit = (path: string, change: (text: string) => string) =>
    writeFileSync(join(folder, path), change(readFileSync(join(folder, path), "utf8")))

  const added = snippets.filter(({ code }) => code.startsWith("import "))
  expect(added.length).toBeGreaterThanOrEqual(9)
  for (const { code, path } of added) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), code, { flag: "wx" })
  }
  edit("src/domain/Errors.ts", (text) => insertBefore(text, /^ {2}static vm\(/m, codeOf("src/domain/Errors.ts")))
  const [group = "", registration = ""] = codeOf("src/http/Api.ts").split("// in class Api\n")
  edit("src/http/Api.ts", (text) =>
    [
      'import { Setting, SettingKey } from "../domain/Setting.js"\n',
      insertBefore(insertBefore(text, /^export class Api /m, group), /^ {2}\.add\(HealthGroup\)/m, registration)
    ].join("")
  )
  writeFileSync(
    join(folder, "tsconfig.example.json"),
    JSON.stringify({ extends: "./tsconfig.json", include: added.map(({ path }) => path) })
  )

  const tsc = join(projectFolder, "node_modules/.bin/tsc")
  const errors = promisify(execFile)(tsc, ["-p", "tsconfig.example.json"], { cwd: folder }).then(
    () => "",
    ({ stdout }: { readonly stdout: string }) => stdout
  )
  expect(await errors).toBe("")
})
