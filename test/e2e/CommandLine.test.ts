import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { runCli } from "../support/Cli.js"
import { type Daemon, runDaemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { createVm, listVms } from "../support/VmCalls.js"

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
    [["vm", "list", "-o"], "option --output needs a value: text | wide | json | yaml | name"],
    [["vm", "list", "-o="], 'option --output: expected one of text, wide, json, yaml, name, got ""'],
    [
      ["vm", "list", "--role", "wrok"],
      'option --role: expected one of portal, work, service, got "wrok"; did you mean work?'
    ],
    [
      ["vm", "list", "-oxml"],
      'option --output: expected one of text, wide, json, yaml, name, got "xml"; did you mean yaml?'
    ],
    [
      ["vm", "lst"],
      "unknown command 'lst': expected one of create, list, inspect, delete, update, edit, start, stop, restart, wait, logs; did you mean list?"
    ],
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
    [["--", "vm", "list"], "missing command: expected one of status, version, vm, apply, config, doctor, mcp"],
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

  it("accepts -ojson, -o=json, -o json, --output=json, --output json", async () => {
    for (const spelling of [["-ojson"], ["-o=json"], ["-o", "json"], ["--output=json"], ["--output", "json"]]) {
      const { code, stdout } = await run("status", ...spelling)
      expect(JSON.parse(stdout), spelling.join(" ")).toMatchObject({ status: "ok" })
      expect(code).toBe(0)
    }
  })

  it("shows help after options with =", async () => {
    const help = await run("vm", "list", "--help")
    expect(await run("vm", "list", "--daemon=x", "--role=work", "--help")).toEqual(help)
    expect(await run("--daemon=x", "--help")).toEqual(await run("--help"))
    expect(help.stdout).toContain("--completions bash | zsh | fish")
  })

  it("deletes a VM named like an option only with --yes before --", async () => {
    expect(await run("vm", "delete", "--", "--yes")).toEqual({
      code: 1,
      stdout: "",
      stderr:
        "Error: refusing to delete VM without confirmation\n" +
        "  Run with --yes to skip confirmation: nexusctl vm delete --yes -- --yes\n"
    })
    expect(await run("vm", "delete", "--yes", "--", "--yes")).toMatchObject({ code: 4 })
    await createVm(daemon, "after-dashes")
    expect(await run("vm", "delete", "--yes", "--", "after-dashes")).toMatchObject({ code: 0 })
    await createVm(daemon, "y")
    expect(await run("vm", "delete", "--yes", "y")).toMatchObject({ code: 0 })
    expect((await listVms(daemon)).filter(({ name }) => name === "y" || name === "after-dashes")).toEqual([])
  })

  for (const word of ["--help", "--version", "--completions", "--wizard", "-h", "vm", "true", "-o"]) {
    it(`reads ${word} after -- as a name`, async () => {
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
    [
      ["chekc"],
      "unknown command 'chekc': expected one of backup, restore, check, migrate, token, install, uninstall; did you mean check?"
    ],
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
