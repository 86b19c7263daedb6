import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Path from "node:path"
import { configDir } from "../../runtime/XdgDirs.js"

export const unitName = "nexus.service"

/** Where a user's systemd finds the unit. */
export const unitPath = (): string => Path.join(configDir(), "systemd", "user", unitName)

/** The unit as it is shipped. In the built program `__dirname` is `dist`. */
const template = (): string => readFileSync(Path.join(__dirname, "..", "packaging", unitName), "utf8")

/** A word of a unit's command line: systemd.service(5), "Command lines", and systemd.unit(5), "Specifiers". */
const quote = (word: string): string => {
  const escapes: Readonly<Record<string, string>> = { "\\": "\\\\", '"': '\\"', $: "$$", "%": "%%" }
  return `"${word.replace(/[\\"$%]/g, (character) => escapes[character] ?? character)}"`
}

const checksum = (text: string): string => createHash("sha256").update(text).digest("hex")

const header = (body: string): string =>
  `# Written by nexusd install (sha256 ${checksum(body)}), removed by nexusd uninstall.\n`

/** The unit for a nexusd with these words on its command line. */
export const unitText = (command: ReadonlyArray<string>): string => {
  const sections = template().replace(/^(#.*\n)*/, "")
  const start = `ExecStart=/bin/sh -lc 'exec "$$0" "$$@"' ${command.map(quote).join(" ")}`
  const body = sections.replace(/^ExecStart=.*$/m, () => start)
  return `${header(body)}${body}`
}

/** Whether `nexusd install` wrote this text, and nobody changed it since. */
export const isInstalledText = (text: string): boolean => {
  const end = text.indexOf("\n") + 1
  return text.slice(0, end) === header(text.slice(end))
}
