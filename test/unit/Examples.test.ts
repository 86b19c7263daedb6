import { describe, expect, it } from "vitest"
import { examples as ctlExamples } from "../../src/cli/nexusctl/Examples.js"
import { nexusctl } from "../../src/cli/nexusctl/RootCommand.js"
import { examples as daemonExamples } from "../../src/cli/nexusd/Examples.js"
import { parseCommandLine } from "../../src/cli/runner/CommandLine.js"
import { type CommandTree, visibleChildren } from "../../src/cli/runner/CommandTree.js"

const paths = (tree: CommandTree, before = ""): ReadonlyArray<string> => {
  const path = `${before}${tree.name}`
  return [path, ...visibleChildren(tree).flatMap((child) => paths(child, `${path} `))]
}

it("every command of nexusctl has two examples or more, and no other command has", () => {
  expect(Object.keys(ctlExamples).sort()).toEqual([...paths(nexusctl.tree)].sort())
  for (const [path, lines] of Object.entries({ ...ctlExamples, ...daemonExamples })) {
    expect(lines.length, path).toBeGreaterThan(1)
  }
})

describe("an example can be run", () => {
  for (const [path, lines] of Object.entries(ctlExamples)) {
    for (const line of lines) {
      it(line, () => {
        // Of a pipeline, the part that begins with nexusctl.
        for (const part of line.split(/ \| | && /).filter((text) => text.startsWith("nexusctl "))) {
          const parsed = parseCommandLine(nexusctl.tree, part.split(" ").slice(1), false)
          expect(parsed.problem, path).toBeUndefined()
        }
      })
    }
  }
})
