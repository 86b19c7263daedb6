import * as FastCheck from "effect/FastCheck"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { libraryArguments, parseCommandLine } from "../../src/cli/runner/CommandLine.js"
import { type CommandOption, type CommandTree, valueKind } from "../../src/cli/runner/CommandTree.js"
import { suggestion } from "../../src/cli/runner/Suggestion.js"
import { runCli } from "../support/Cli.js"
import { type Daemon, runDaemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { createVm, listVms } from "../support/VmCalls.js"

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

/** Text that may be mistaken for something else. */
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

describe("reading a command line", () => {
  it("finds the same in every order and spelling", () => {
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
        // What the library gets is one line whatever the order, and reads the same again.
        expect(read(...libraryArguments(line))).toEqual({ ...line, globals: line.globals, options: line.options })
      })
    )
  })

  it("reads any line, and says at most one thing about it, in one line", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(tricky, { maxLength: 6 }), (args) => {
        const { path, problem } = read(...args)
        expect(path[0]).toBe(tree)
        if (problem !== undefined) expect(problem).not.toBe("")
      })
    )
  })

  it("takes nothing after -- for an option or a command", () => {
    FastCheck.assert(
      FastCheck.property(tricky, (name) => {
        const line = read("vm", "create", "--", name)
        expect(line).toMatchObject({ arguments: [name], options: [], globals: [], builtIn: undefined })
        expect(line.problem).toBeUndefined()
      })
    )
  })

  it("says of a value what kind it is by its placeholder", () => {
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

  it("suggests a word that is near, and none that is not", () => {
    const words = ["create", "list", "inspect", "delete"]
    for (const [word, found] of [
      ["creat", "create"],
      ["lst", "list"],
      ["insp", "inspect"],
      ["DELETE", "delete"],
      ["delte", "delete"]
    ] as const) {
      expect(suggestion(word, words)).toBe(`; did you mean ${found}?`)
    }
    for (const word of ["", "frobnicate", "xyz", "x".repeat(100_000)]) expect(suggestion(word, words)).toBe("")
  })
})

describe.concurrent("nexusctl's command line", () => {
  const home = makeHome(afterAll)
  let daemon: Daemon
  beforeAll(async () => {
    daemon = await startDaemon(home)
  })
  const run = async (...args: ReadonlyArray<string>) => {
    const result = await runCli(home, args, { env: { NEXUS_DAEMON: daemon.address } })
    expect(result.stdout + result.stderr).not.toContain("\u001b")
    return result
  }

  for (const [args, problem] of [
    [["--daemon", "", "status"], 'option --daemon: expected HOST:PORT, such as 127.0.0.1:9600, or unix:/PATH, got ""'],
    [["--daemon=", "status"], 'option --daemon: expected HOST:PORT, such as 127.0.0.1:9600, or unix:/PATH, got ""'],
    [["--config", "", "status"], "option --config: expected a path, got an empty value"],
    [["--config=", "status"], "option --config: expected a path, got an empty value"],
    [["--token-file", "", "status"], "option --token-file: expected a path, got an empty value"],
    [["--config", "a\nb", "status"], "option --config: expected a path, got one with a line break"],
    [["status", "--config"], "option --config needs a value: PATH"],
    [["status", "--token-file", "--daemon", "x"], "option --token-file needs a value: PATH"],
    [["vm", "list", "--role"], "option --role needs a value: portal | work | service"],
    [["vm", "list", "-o"], "option --output needs a value: text | json"],
    [["vm", "list", "-o="], 'option --output: expected one of text, json, got ""'],
    [
      ["vm", "list", "--role", "wrok"],
      'option --role: expected one of portal, work, service, got "wrok"; did you mean work?'
    ],
    [["vm", "list", "-oxml"], 'option --output: expected one of text, json, got "xml"'],
    [["vm", "lst"], "unknown command 'lst': expected one of create, list, inspect, delete; did you mean list?"],
    [["vm", "list", "--rol=work"], "unknown option '--rol'; did you mean --role?"],
    [["-o", "json", "vm", "list"], "option '-o' goes after the command that it is for"],
    [["-v"], "unknown option '-v'; did you mean --version?"],
    [["--help-me"], "unknown option '--help-me'; did you mean --help?"],
    [["--log-level", "debug", "status"], "unknown option '--log-level'"],
    [["--wizard"], "unknown option '--wizard'"],
    [["vm", "delete", "x", "--yes=no"], "option --yes takes no value"],
    [["--completions", "powershell"], "option --completions: expected one of bash, zsh, fish, got 'powershell'"],
    [["--completions", "sh"], "option --completions: expected one of bash, zsh, fish, got 'sh'; did you mean zsh?"],
    [["--completions"], "option --completions needs a value: bash | zsh | fish"],
    [["--", "vm", "list"], "missing command: expected one of status, version, vm"],
    [["vm", "create", "a", "b"], "unexpected argument 'b'"],
    [["vm", "create"], "missing argument NAME"]
  ] as const) {
    it(`exit 2: ${JSON.stringify(args)}`, async () => {
      const { code, stderr, stdout } = await run(...args)
      expect(stderr.split("\n")[0]).toBe(`Error: ${problem}`)
      expect(stderr).toMatch(/^Error: [^\n]+\n {2}See: nexusctl[a-z ]* --help\n$/)
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    })
  }

  it("takes -ojson, -o=json, -o json, --output=json, --output json", async () => {
    for (const spelling of [["-ojson"], ["-o=json"], ["-o", "json"], ["--output=json"], ["--output", "json"]]) {
      const { code, stdout } = await run("status", ...spelling)
      expect(JSON.parse(stdout), spelling.join(" ")).toMatchObject({ status: "ok" })
      expect(code).toBe(0)
    }
  })

  it("shows help after options with =, and in a cluster of short ones not by accident", async () => {
    const help = await run("vm", "list", "--help")
    expect(await run("vm", "list", "--daemon=x", "--role=work", "--help")).toEqual(help)
    expect(await run("--daemon=x", "--help")).toEqual(await run("--help"))
    expect(help.stdout).toContain("--completions bash | zsh | fish")
  })

  it("deletes a VM that is called like an option only when it is confirmed", async () => {
    expect(await run("vm", "delete", "--", "--yes")).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "Error: refusing to delete VM without confirmation\n" +
        "  Run with --yes to skip confirmation: nexusctl vm delete --yes --yes\n"
    })
    expect(await run("vm", "delete", "--yes", "--", "--yes")).toMatchObject({ code: 4 })
    await createVm(daemon, "after-dashes")
    expect(await run("vm", "delete", "--yes", "--", "after-dashes")).toMatchObject({ code: 0 })
    await createVm(daemon, "y")
    expect(await run("vm", "delete", "--yes", "y")).toMatchObject({ code: 0 })
    expect((await listVms(daemon)).filter(({ name }) => name === "y" || name === "after-dashes")).toEqual([])
  })

  for (const word of ["--help", "--version", "--completions", "--wizard", "-h", "vm", "true", "-o"]) {
    it(`takes ${word} after -- for a name`, async () => {
      expect(await run("vm", "inspect", "--", word)).toEqual({
        code: 4,
        stdout: "",
        stderr: `Error: VM "${word}" not found\n`
      })
    })
  }
})

describe.concurrent("nexusd's command line", () => {
  const home = makeHome(afterAll)
  for (const [args, problem] of [
    [["--db", ""], "option --db: expected a path, got an empty value"],
    [["--db="], "option --db: expected a path, got an empty value"],
    [["--config", ""], "option --config: expected a path, got an empty value"],
    [["--db", "a\nb"], "option --db: expected a path, got one with a line break"],
    [["check", "--db"], "option --db needs a value: PATH"],
    [["backup", ""], "argument FILE: expected a path, got an empty value"],
    [["migrate", "--from", "", "--to", "x"], "option --from: expected a path, got an empty value"],
    [["chekc"], "unknown command 'chekc': expected one of backup, restore, check, migrate, token; did you mean check?"],
    [["token"], "missing command: expected one of new"],
    [["--", "x"], "unexpected argument 'x'"]
  ] as const) {
    it(`exit 2: ${JSON.stringify(args)}`, async () => {
      const { code, stderr, stdout } = await runDaemon(home, { args })
      expect(stderr.split("\n")[0]).toBe(`Error: ${problem}`)
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    })
  }
})
