import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { expect, it } from "vitest"

const documents = [...readdirSync("."), ...readdirSync("docs").map((name) => `docs/${name}`)].filter((path) =>
  path.endsWith(".md")
)

const code = /```.*?```/gs

/** GitHub's anchor of a heading. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-")

const anchors = (path: string) =>
  Array.from(
    readFileSync(path, "utf8")
      .replace(code, "")
      .matchAll(/^#+ (.*)$/gm),
    ([, heading]) => anchor(`${heading}`)
  )

/** Links to files of this repository, without those to other sites. */
const links = (text: string) =>
  Array.from(text.replace(code, "").matchAll(/\]\(([^)\s]+)\)/g), ([, link]) => `${link}`).filter(
    (link) => !/^\w+:/.test(link)
  )

/** Paths in code, such as `src/nexusd.ts` or `GroupCommit.ts`. */
const paths = (text: string) =>
  Array.from(
    text.replace(code, "").matchAll(/`((?:src|test|bench|scripts|docs|packaging)\/[\w./-]+|\w+\.(?:ts|cjs|mjs))`/g),
    ([, path]) => `${path}`
  )

const fileNames = new Set(
  ["src", "test", "bench", "scripts"].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => basename(path))
  )
)
const isThere = (path: string) => (path.includes("/") ? existsSync(path) : fileNames.has(path))

it.each(documents)("%s links to files and headings that exist", (path) => {
  const text = readFileSync(path, "utf8")
  const broken = links(text).filter((link) => {
    const [file = "", heading] = link.split("#")
    const target = file === "" ? path : join(dirname(path), file)
    return !existsSync(target) || (heading !== undefined && !anchors(target).includes(heading))
  })
  expect(broken).toEqual([])
})

it.each(documents)("%s names files that exist", (path) => {
  const missing = paths(readFileSync(path, "utf8")).filter((path) => !isThere(path))
  expect(missing).toEqual([])
})
