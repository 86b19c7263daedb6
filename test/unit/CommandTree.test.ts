import { expect, it } from "vitest"
import { valueKind } from "../../src/cli/runner/CommandTree.js"

it("valueKind follows from the placeholder", () => {
  expect(valueKind("text | json")).toEqual({ _tag: "Words", words: ["text", "json"] })
  expect(["PATH", "PATH|URL", "FILE", "NAME|ID", "HOST:PORT", "N"].map((text) => valueKind(text)._tag)).toEqual([
    "File",
    "File",
    "File",
    "Vm",
    "Text",
    "Text"
  ])
})
