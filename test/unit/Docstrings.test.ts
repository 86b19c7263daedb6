import { readdirSync, readFileSync } from "node:fs"
import { expect, it } from "vitest"

/** The modules of the package that programs import, and those that their types name. */
const modules = ["src/domain", "src/client", "src/http"].flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`)
)

const declaration = /^export (?:declare )?(?:abstract )?(?:const|class|interface|type|function) (\w+)/

/** The exported names of a module. A schema and its type have one docstring, at either of them. */
const undocumented = (source: string) => {
  const lines = source.split("\n")
  const names = lines.flatMap((line, index) => {
    const name = declaration.exec(line)?.[1]
    return name === undefined ? [] : [{ name, hasDocstring: lines[index - 1]?.trimEnd().endsWith("*/") === true }]
  })
  const documented = new Set(names.filter(({ hasDocstring }) => hasDocstring).map(({ name }) => name))
  return names.map(({ name }) => name).filter((name) => !documented.has(name))
}

it.each(modules)("every exported name of %s has a docstring", (path) => {
  expect(undocumented(readFileSync(path, "utf8"))).toEqual([])
})

it("an exported name without a docstring is found", () => {
  expect(undocumented("/** A. */\nexport const A = 1\nexport type A = 1\n\nexport interface B {}\n")).toEqual(["B"])
})
