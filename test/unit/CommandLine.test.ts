import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { libraryArguments, parseCommandLine } from "../../src/cli/runner/CommandLine.js"
import type { CommandOption, CommandTree } from "../../src/cli/runner/CommandTree.js"

const option = (names: CommandOption["names"], placeholder?: string): CommandOption => ({
  names,
  placeholder,
  isRepeatable: false
})

const command = (
  name: string,
  options: ReadonlyArray<CommandOption>,
  children: ReadonlyArray<CommandTree> = [],
  ...placeholders: ReadonlyArray<string>
): CommandTree => ({
  name,
  aliases: [],
  parameters: () => ({
    options,
    arguments: placeholders.map((placeholder) => ({ placeholder, isRequired: true, isRepeatable: false }))
  }),
  usage: () => "",
  help: () => {
    throw new Error("help is not needed to read a line")
  },
  children,
  isHidden: false
})

const config = option(["--config"], "PATH")
const daemonOption = option(["--daemon"], "HOST:PORT")
const output = option(["--output", "-o"], "text | json")
const role = option(["--role"], "portal | work")
const yes = option(["--yes", "-y"])
const tree = command(
  "ctl",
  [config, daemonOption],
  [command("status", [output]), command("vm", [], [command("create", [role, output, yes], [], "NAME")])]
)
const read = (...args: ReadonlyArray<string>) => parseCommandLine(tree, args, false)

/** Text that looks like a command, an option or a separator. */
const tricky = FastCheck.oneof(
  FastCheck.string(),
  FastCheck.constantFrom(
    "vm",
    "create",
    "status",
    "--",
    "-",
    "-o",
    "--yes",
    "--role=x",
    "=",
    "a=b",
    "true",
    "y",
    " x ",
    "-1",
    "--help"
  )
)

describe("parseCommandLine", () => {
  it("reads the same from every order and spelling", () => {
    const value = tricky.filter((text) => text !== "" && !/[\r\n]/.test(text))
    const given = FastCheck.record({
      config: value,
      daemon: value,
      output: value,
      role: value,
      name: tricky,
      spellings: FastCheck.array(FastCheck.boolean(), { minLength: 5, maxLength: 5 }),
      places: FastCheck.array(FastCheck.nat(3), { minLength: 2, maxLength: 2 }),
      isFlagFirst: FastCheck.boolean()
    })
    FastCheck.assert(
      FastCheck.property(given, ({ isFlagFirst, name, places, spellings, ...values }) => {
        // A value that is an option's name can only be attached.
        const attached = (text: string, isAttached: boolean | undefined) => isAttached || text.startsWith("-")
        const long = (option: string, text: string, isAttached: boolean | undefined) =>
          attached(text, isAttached) ? [`--${option}=${text}`] : [`--${option}`, text]
        const short = (text: string, isAttached: boolean | undefined) =>
          attached(text, isAttached) ? [`-o=${text}`] : ["-o", text]
        const own = [
          ...(isFlagFirst ? ["-y"] : []),
          ...long("role", values.role, spellings[0]),
          ...(spellings[1] ? long("output", values.output, spellings[2]) : short(values.output, spellings[2])),
          ...(isFlagFirst ? [] : ["--yes"])
        ]
        const globals = [long("config", values.config, spellings[3]), long("daemon", values.daemon, spellings[4])]
        const words: Array<Array<string>> = [[], ["vm"], ["create"], own]
        for (const [index, place] of places.entries()) words[place]?.push(...(globals[index] ?? []))
        const line = read(...words.flat(), "--", name)
        expect(line.problem).toBeUndefined()
        expect(line.path.map((tree) => tree.name)).toEqual(["ctl", "vm", "create"])
        expect(line.arguments).toEqual([name])
        const valueOf = (option: CommandOption) =>
          [...line.globals, ...line.options].find((given) => given.option === option)?.value
        expect([config, daemonOption, output, role].map(valueOf)).toEqual([
          values.config,
          values.daemon,
          values.output,
          values.role
        ])
        expect(line.options.map(({ option }) => option)).toContain(yes)
        // The words for @effect/cli parse to the same line.
        expect(read(...libraryArguments(line))).toEqual({ ...line, globals: line.globals, options: line.options })
      })
    )
  })

  it("reads any line, with at most one usage error", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(tricky, { maxLength: 6 }), (args) => {
        const { path, problem } = read(...args)
        expect(path[0]).toBe(tree)
        if (problem !== undefined) expect(problem).not.toBe("")
      })
    )
  })

  it("reads every word after -- as an argument", () => {
    FastCheck.assert(
      FastCheck.property(tricky, (name) => {
        const line = read("vm", "create", "--", name)
        expect(line).toMatchObject({ arguments: [name], options: [], globals: [], builtIn: undefined })
        expect(line.problem).toBeUndefined()
      })
    )
  })
})
