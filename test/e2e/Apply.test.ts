import { existsSync, readFileSync } from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { failed, printed, runCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"
import { programs } from "../support/Programs.js"
import { record } from "../support/Records.js"
import { runElsewhere } from "../support/Runs.js"
import { startShell } from "../support/Shell.js"
import { withDatabase } from "../support/Sqlite.js"
import { hasTerminal, startOnTerminal } from "../support/Terminal.js"
import { createVm } from "../support/VmCalls.js"

const home = makeHome(afterAll)
let daemon: Daemon

beforeAll(async () => {
  daemon = await startDaemon(home)
})

const database = () => join(home.path, "state/nexus/nexus.db")
const execute = (sql: string) => withDatabase(database(), (database) => database.exec(sql))

beforeEach(() => execute("DELETE FROM vms"))

const run = (line: string, text?: string, env?: Readonly<Record<string, string>>) =>
  runCli(home, line.split(" "), {
    env: { NEXUS_DAEMON: daemon.address, TMPDIR: home.path, ...env },
    ...(text !== undefined && { stdin: { text } })
  })

const vms = async (): Promise<ReadonlyArray<Record<string, unknown>>> =>
  JSON.parse(await (await fetch(`${daemon.url}/v1/vms`)).text())
const names = async () => (await vms()).map(({ name }) => name).sort()
const shell = (line: string) => startShell(home, line, { env: { NEXUS_DAEMON: daemon.address } }).ended

describe("nexusctl apply", () => {
  it("creates, updates and leaves VMs, in the order of the file", async () => {
    await createVm(daemon, "kept", { role: "portal" })
    await createVm(daemon, "other")
    const file = home.write(
      "vms.yaml",
      `name: web
vcpu_count: 2
config_json:
  boot-source: {boot_args: quiet}
---
- name: kept
- name: other
  role: work
`
    )
    const outcomes = ['VM "web" created', 'VM "kept" updated', 'VM "other" unchanged']
    const lines = (suffix: string) => printed(outcomes.map((line) => `${line}${suffix}\n`).join(""))
    const before = await vms()
    expect(await run(`apply -f ${file} --dry-run`)).toEqual(lines(" (dry run)"))
    expect(await vms()).toEqual(before)
    expect(await run(`apply -f ${file}`)).toEqual(lines(""))
    const [web, other, kept] = await vms()
    expect(web).toMatchObject({
      name: "web",
      role: "work",
      vcpu_count: 2,
      mem_size_mib: 128,
      config_json: '{"boot-source":{"boot_args":"quiet"}}'
    })
    expect(other).toEqual(before[0])
    expect(kept).toMatchObject({ name: "kept", role: "work" })
    const after = await vms()
    expect(await run(`apply --file=${file}`)).toEqual(
      printed('VM "web" unchanged\nVM "kept" unchanged\nVM "other" unchanged\n')
    )
    expect(await vms()).toEqual(after)
  })

  it("leaves all VMs as they are that a list shows, also those that could not be created here", async () => {
    for (const name of ["a", "b"]) await createVm(daemon, name)
    execute(`INSERT INTO vms (id, name, role, state, cid, vcpu_count, config_json)
      VALUES ('id 1', 'A "name" | \u202e', 'work', 'running', 7, 64, 'no JSON')`)
    const before = await vms()
    for (const format of ["yaml", "json"]) {
      const { code, stdout } = await shell(
        `"$NODE" "$NEXUSCTL" vm list -o ${format} | "$NODE" "$NEXUSCTL" apply -f - --prune --yes`
      )
      expect({
        code,
        lines: stdout
          .trimEnd()
          .split("\n")
          .map((line) => line.replace(/.* /, ""))
      }).toEqual({
        code: 0,
        lines: ["unchanged", "unchanged", "unchanged"]
      })
    }
    expect(await vms()).toEqual(before)
  })

  it("names every error of the file before anything is sent", async () => {
    const before = await vms()
    const bad = "name: good\n---\n- {name: a, vcpu_count: 99, role: x}\n- {name: b, vcpus: 1}\n---\nname: Bad\n"
    const { code, stderr, stdout } = await run("apply -f -", bad)
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    const [first, ...problems] = stderr.trimEnd().split("\n")
    expect(first).toBe("Error: cannot apply stdin")
    expect(problems.map((line) => line.replace(/(document \d: [\w.]+:).*/, "$1"))).toEqual([
      "  document 2: 0.role:",
      "  document 2: 0.vcpu_count:",
      "  document 2: 1.vcpus:",
      "  document 3: name:"
    ])
    expect(await vms()).toEqual(before)
    expect(await run("apply -f none.yaml")).toEqual(
      failed(2, "Error: cannot read none.yaml: no such file or directory\n")
    )
    expect((await run("apply")).code).toBe(2)
  })

  it("prunes what the file lacks, within a role, and only with --yes", async () => {
    for (const name of ["a", "b", "c"]) await createVm(daemon, name)
    await createVm(daemon, "p", { role: "portal" })
    const text = "name: a"
    expect(await run("apply -f - --prune", text)).toMatchObject({ code: 1, stdout: "" })
    expect(await names()).toEqual(["a", "b", "c", "p"])
    expect(await run("apply -f - --prune --dry-run --role work", text)).toEqual(
      printed('VM "a" unchanged (dry run)\nVM "c" deleted (dry run)\nVM "b" deleted (dry run)\n')
    )
    expect(await names()).toEqual(["a", "b", "c", "p"])
    expect(await run("apply -f - --prune -y --role work", text)).toEqual(
      printed('VM "a" unchanged\nVM "c" deleted\nVM "b" deleted\n')
    )
    expect(await names()).toEqual(["a", "p"])
    expect(await run("apply -f - --prune --yes", text)).toEqual(printed('VM "a" unchanged\nVM "p" deleted\n'))
    expect((await run("apply -f - --role work", text)).code).toBe(2)
  })

  it("never prunes for an empty input", async () => {
    await createVm(daemon, "a")
    for (const text of ["", "\n", "[]", "---\n---\n", "# nothing"]) {
      expect(await run("apply -f - --prune --yes", text), text).toMatchObject({ code: 2, stdout: "" })
      expect(await run("apply -f -", text), text).toEqual(printed(""))
    }
    const line = `"$NODE" "$NEXUSCTL" vm list -o yaml --daemon 127.0.0.1:2 | "$NODE" "$NEXUSCTL" apply -f - --prune --yes`
    expect((await shell(line)).code).toBe(2)
    expect(await names()).toEqual(["a"])
  })

  it("deletes nothing when a VM can't be changed, such as one that runs", async () => {
    for (const name of ["web", "doomed"]) await createVm(daemon, name)
    execute(runElsewhere("web"))
    const reason = "  cannot update VM 'web': VM is running, stop it first\n"
    const text = "- {name: web, vcpu_count: 2}\n- {name: db}\n"
    const dry = await run("apply -f - --dry-run --prune", text)
    expect(dry).toEqual({
      code: 5,
      stdout: 'VM "db" created (dry run)\n',
      stderr: `Error: cannot apply VM "web"\n${reason}`
    })
    expect(await run("apply -f - --prune --yes", text)).toEqual({
      code: 5,
      stdout: 'VM "db" created\n',
      stderr: `Error: cannot apply VM "web"\n${reason}`
    })
    expect(await names()).toEqual(["db", "doomed", "web"])
    // The role may change while it runs.
    expect(await run("apply -f -", "{name: web, role: service}")).toEqual(printed('VM "web" updated\n'))
  })

  it("says of a daemon that has no PUT that it is too old, and sends If-Match to others", async ({
    onTestFinished
  }) => {
    const web = record("web")
    const asked: Array<string> = []
    let tag: string | undefined
    const server = Http.createServer((request, response) => {
      const { method, headers, url } = request
      asked.push([method, url, headers["if-match"], headers["if-none-match"]].filter((word) => word).join(" "))
      const [status, body] =
        method === "GET"
          ? [200, url === "/v1/vms" ? [web] : web]
          : tag === undefined
            ? [405, { error: "method not allowed" }]
            : [412, { error: "VM 'web' has changed", _tag: "PreconditionFailed" }]
      response.writeHead(status, { "content-type": "application/json", ...(tag && { etag: tag }) })
      response.end(JSON.stringify(body))
    })
    const { address } = await listen(server, onTestFinished)
    const apply = () => run(`apply -f - --daemon ${address}`, "- {name: web, role: portal}\n- {name: new}\n")
    expect(await apply()).toEqual(failed(1, 'Error: this nexusd is too old for "apply"\n'))
    tag = '"abc"'
    asked.length = 0
    expect(await apply()).toMatchObject({ code: 5, stdout: "" })
    expect(asked).toEqual(["GET /v1/vms", "GET /v1/vms/web", 'PUT /v1/vms/web "abc"', "PUT /v1/vms/new *"])
  })
})

describe("nexusctl vm edit", () => {
  /** An editor that replaces a text in the file. */
  const replacing = (from: string, to: string) => ({ EDITOR: `sed -i s/${from}/${to}/` })

  it("sends what the editor changed", async () => {
    await createVm(daemon, "web", { config_json: '{ "drives": [] }' })
    const [before] = await vms()
    expect(await run("vm edit web", undefined, { EDITOR: "true" })).toEqual(printed('VM "web" unchanged\n'))
    expect(await run("vm edit web", undefined, { EDITOR: "false", VISUAL: "cp /dev/null" })).toEqual(
      printed('VM "web" unchanged\n')
    )
    expect(await vms()).toEqual([before])
    expect(await run("vm edit web", undefined, replacing("vcpu_count:.1", "vcpu_count:\\ 7"))).toEqual(
      printed('VM "web" updated\n')
    )
    expect(await vms()).toEqual([{ ...before, vcpu_count: 7, updated_at: expect.any(Number) }])
    expect(await run("vm edit web", undefined, replacing("name:.web", "name:\\ shop"))).toEqual(
      printed('VM "web" updated\n')
    )
    expect(await names()).toEqual(["shop"])
    expect(await run("vm edit ghost", undefined, { EDITOR: "false" })).toEqual(
      failed(4, 'Error: VM "ghost" not found\n')
    )
  })

  it.skipIf(!hasTerminal)("gives the editor the terminal, and Ctrl-C too (needs script)", async () => {
    await createVm(daemon, "web")
    home.write(
      "ask.sh",
      `[ -t 0 ] && [ -t 1 ] || exit 9
trap 'echo interrupted' INT
echo ready
until read -r role; do :; done
sed -i "s/^role: .*/role: $role/" "$1"
`
    )
    const line = `vm edit web --daemon ${daemon.address}`
    const env = { EDITOR: "sh ask.sh", TERM: "xterm-256color" }
    const { child, ended, said } = startOnTerminal(home, programs.nexusctl, line, { env, stdin: "open" })
    const saying = (text: string) =>
      new Promise<void>((resolve, reject) => {
        child.stdout?.on("data", () => said.stdout.includes(text) && resolve())
        ended.then(() => reject(new Error(said.stdout)), reject)
      })
    await saying("ready")
    child.stdin?.write("\u0003")
    await saying("interrupted")
    child.stdin?.write("portal\n")
    expect(await ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/VM "web" updated\r\n$/) })
    expect(await vms()).toMatchObject([{ role: "portal" }])
  })

  it("keeps the text in a file when it fails", async () => {
    await createVm(daemon, "web")
    const keptFile = (stderr: string) => /The text is kept in (\S+)/.exec(stderr)?.[1] ?? ""
    const invalid = await run("vm edit web", undefined, replacing("vcpu_count:.1", "vcpu_count:\\ 99"))
    expect(invalid).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("vcpu_count: expected") })
    expect(readFileSync(keptFile(invalid.stderr), "utf8")).toContain("vcpu_count: 99")
    const editor = await run("vm edit web", undefined, { EDITOR: "no-such-editor" })
    expect(editor).toMatchObject({ code: 1, stdout: "" })
    expect(existsSync(keptFile(editor.stderr))).toBe(true)
    // Somebody else changes the record meanwhile.
    home.write(
      "editor.sh",
      `'${process.execPath}' '${programs.nexusctl}' vm update web --role service && sed -i s/work/portal/ "$1"`
    )
    const conflict = await run("vm edit web", undefined, { EDITOR: "sh editor.sh" })
    expect(conflict).toMatchObject({ code: 5, stderr: expect.stringContaining('Error: cannot update VM "web"\n') })
    expect(readFileSync(keptFile(conflict.stderr), "utf8")).toContain("role: portal")
    expect(await vms()).toMatchObject([{ role: "service" }])
  })
})
