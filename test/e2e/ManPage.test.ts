import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"
import { nexusctl } from "../../src/cli/nexusctl/RootCommand.js"
import { type CommandTree, visibleChildren } from "../../src/cli/runner/CommandTree.js"
import { projectFolder } from "../support/Programs.js"

const path = join(projectFolder, "dist/nexusctl.1")
const page = readFileSync(path, "utf8")

/** What troff makes of the text: no escapes and no fonts. */
const plain = page.replaceAll("\\-", "-").replace(/\\f[BR]/g, "")

const leaves = (tree: CommandTree, before = ""): ReadonlyArray<readonly [path: string, tree: CommandTree]> =>
  tree.children.length === 0
    ? [[`${before}${tree.name}`, tree]]
    : visibleChildren(tree).flatMap((child) => leaves(child, `${before}${tree.name} `))

it("the man page has every command with every option", () => {
  for (const [path, tree] of leaves(nexusctl.tree)) {
    const [, rest = ""] = plain.split(`\n.SS ${path}\n`)
    const [section = ""] = rest.split(/\n\.S[SH] /)
    for (const { names } of tree.parameters().options) expect(section, path).toContain(`${names[0]}`)
    expect(section, path).toContain("Examples:")
  }
  for (const { names } of nexusctl.tree.parameters().options) expect(plain).toContain(`\n${names[0]}`)
})

it("the man page names no folder of the machine that built it", () => {
  expect(plain).toContain("~/.config/nexusctl/config.yaml")
  expect(plain).not.toMatch(/\/(?:root|home)\//)
})

const hasGroff = spawnSync("groff", ["--version"]).status === 0

it.skipIf(!hasGroff)("groff reads the man page without a warning (needs groff)", () => {
  const { status, stderr, stdout } = spawnSync("groff", ["-man", "-Tascii", "-ww", "-Wbreak", path], {
    encoding: "utf8"
  })
  expect([status, stderr]).toEqual([0, ""])
  expect(stdout).toContain("nexusctl vm create web --vcpu 2 --mem 2G")
})
