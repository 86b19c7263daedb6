import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
  readonly allowScripts: Readonly<Record<string, boolean>>
}
interface Entry {
  readonly name?: string
  readonly integrity?: string
  readonly resolved?: string
  readonly link?: boolean
  readonly hasInstallScript?: boolean
}

const manifest: Manifest = JSON.parse(readFileSync("package.json", "utf8"))
const lockfile: { readonly lockfileVersion: number; readonly packages: Readonly<Record<string, Entry>> } = JSON.parse(
  readFileSync("package-lock.json", "utf8")
)
const entries = Object.entries(lockfile.packages).filter(([place]) => place !== "")
const packageAt = (place: string) => place.slice(place.lastIndexOf("node_modules/") + "node_modules/".length)
const direct = { ...manifest.dependencies, ...manifest.devDependencies }

it("every locked package has a hash and no address", () => {
  expect(lockfile.lockfileVersion).toBe(3)
  expect(entries.length).toBeGreaterThan(Object.keys(direct).length)
  expect(entries.filter(([, { integrity }]) => !/^sha512-[\w+/]{86}==$/.test(integrity ?? ""))).toEqual([])
  expect(entries.filter(([, { link, resolved }]) => resolved !== undefined || link)).toEqual([])
})

it("no install script runs, and better-sqlite3's alone may be run", () => {
  expect(readFileSync(".npmrc", "utf8")).toMatch(/^ignore-scripts=true$/m)
  const withScripts = entries
    .filter(([, { hasInstallScript }]) => hasInstallScript)
    .map(([place, { name }]) => name ?? packageAt(place))
  expect(Array.from(new Set(withScripts)).sort()).toEqual(Object.keys(manifest.allowScripts).sort())
  const allowed = Object.entries(manifest.allowScripts).filter(([, isAllowed]) => isAllowed)
  expect(allowed).toEqual([["better-sqlite3", true]])
})

it("every direct dependency is one exact version, and the one that is locked", () => {
  for (const [name, version] of Object.entries(direct)) {
    const [, exact] = /^(?:npm:better-sqlite3@)?(\d+\.\d+\.\d+)$/.exec(version) ?? []
    expect(exact, name).toBeDefined()
    expect(lockfile.packages[`node_modules/${name}`], name).toMatchObject({ version: exact })
  }
})

// knip accepts a package that is only a peer of a listed one.
it("every package that is imported is a direct dependency", () => {
  const imported = ["src", "test", "scripts", "bench"].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((path) => /\.[cm]?[jt]sx?$/.test(path))
      .flatMap((path) => {
        const imports = /^(?:import|export) .*?from "([^".]+)"|^\} from "([^".]+)"|import\("([^".]+)"\)/gm
        return Array.from(
          readFileSync(join(folder, path), "utf8").matchAll(imports),
          ([, a, b, c]) => a ?? b ?? c ?? ""
        )
      })
  )
  const packages = imported.map((name) => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? "")
  const unlisted = packages.filter((name) => !name.startsWith("node:") && name !== "nexus" && !(name in direct))
  expect(packages).toContain("effect")
  expect(Array.from(new Set(unlisted))).toEqual([])
})

it("every direct dependency has its reason in docs/decisions.md, and nothing else has", () => {
  const [, chapter = ""] = readFileSync("docs/decisions.md", "utf8").split(/^## Dependencies$/m)
  const rows = (chapter.split(/^## /m)[0] ?? "")
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2)
    .map((line) => line.split("|").map((cell) => cell.trim()))
  expect(rows.filter(([, , reason = ""]) => reason === "")).toEqual([])
  const named = rows.flatMap(([, names = ""]) => names.split(", "))
  expect(named.sort()).toEqual(Object.keys(direct).sort())
})
