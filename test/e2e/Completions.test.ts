import { existsSync, symlinkSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { runCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { listen } from "../support/LocalServer.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { record } from "../support/Records.js"
import { createVm } from "../support/VmCalls.js"

const shells = { bash: "/usr/bin/bash", zsh: "/usr/bin/zsh", fish: "/usr/bin/fish" } as const
type Shell = keyof typeof shells

/** Calls the function that is registered for the command, with its words split as bash splits them at = and :. */
const bash = `
source "$SCRIPT"
completed() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  local spec=$(complete -p "$1"); local name=\${spec#*-F }; name=\${name%% *}
  "$name" "$1" "\${COMP_WORDS[COMP_CWORD]}" ""
  printf '%s\\n' "\${COMPREPLY[@]}"
}
completed "$@"
`

/** Completes in an interactive zsh of its own, where compadd prints what it is given. */
const zsh = `
zmodload zsh/zpty
zpty z zsh -f -i
line() { local answer; until zpty -r z answer "*$1*"; do :; done }
zpty -w z 'PROMPT= RPROMPT= ; unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit && compinit -u -d '\${(q)HOME}'/dump; source '\${(q)SCRIPT}'
compadd() {
  if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return $?; fi
  typeset -a __hits
  builtin compadd -A __hits "$@"
  [[ -n $__hits ]] && printf "HIT:%s\\r\\n" "\${__hits[@]}"
}
done_() { print -r -- "ALL"_DONE; }
zle -C capture complete-word _main_complete; bindkey "^I" capture
zle -N done_; bindkey "^D" done_
print READY_"NOW"'
line READY_NOW
zpty -n -w z "$1"$'\\t\\x04'
local out chunk
while zpty -r z chunk; do out+=$chunk; [[ $out == *ALL_DONE* ]] && break; done
print -r -- "$out" | tr -d '\\r' | sed -n 's/.*HIT://p'
zpty -d z
`

const fish = `
source $SCRIPT
complete -C $argv[1] | string replace -r '\\t.*' ''
`

interface Completer {
  readonly home: Home
  readonly complete: (line: string, env?: Readonly<Record<string, string>>) => Promise<ReadonlyArray<string>>
}

const completer = async (shell: Shell, program: "nexusctl" | "nexusd", home: Home): Promise<Completer> => {
  const bin = join(home.path, "bin")
  if (!existsSync(bin)) {
    home.write("bin/.keep", "")
    symlinkSync(programs.nexusctl, join(bin, "nexusctl"))
    symlinkSync(programs.nexusctl, join(bin, "nxc"))
    symlinkSync(programs.nexusd, join(bin, "nexusd"))
  }
  const { stdout } = await start(home, process.execPath, [programs[program], "--completions", shell]).ended
  // However busy the machine is.
  const script = home.write(`${program}.${shell}`, stdout.replace("complete-vms 300", "complete-vms 30000"))
  const harness = home.write(`harness.${shell}`, { bash, fish, zsh }[shell])
  const complete: Completer["complete"] = async (line, env = {}) => {
    const bashWords = line
      .split(/\s+/)
      .flatMap((word) => (word === "" ? [""] : word.split(/([=:])/).filter((part) => part !== "")))
    const args =
      shell === "bash"
        ? ["--norc", "--noprofile", harness, ...bashWords]
        : shell === "zsh"
          ? ["-f", harness, line]
          : ["--no-config", harness, line]
    const { stderr, stdout } = await start(home, shells[shell], args, {
      env: { SCRIPT: script, PATH: `${bin}:${process.env["PATH"]}`, TERM: "dumb", NEXUS_DAEMON: "127.0.0.1:1", ...env }
    }).ended
    expect(stderr).toBe("")
    return Array.from(
      new Set(
        stdout
          .split("\n")
          .map((text) => text.trim())
          .filter((text) => text !== "")
      )
    ).sort()
  }
  return { home, complete }
}

const roles = ["portal", "service", "work"]
const formats = ["json", "name", "text", "wide", "yaml"]

for (const shell of ["bash", "zsh", "fish"] as const) {
  describe.skipIf(!existsSync(shells[shell])).concurrent(`completions in ${shell}`, () => {
    const home = makeHome(afterAll)
    let nexusctl: Completer
    let nexusd: Completer
    let daemon: Daemon
    beforeAll(async () => {
      nexusctl = await completer(shell, "nexusctl", home)
      nexusd = await completer(shell, "nexusd", home)
      daemon = await startDaemon(home)
      await createVm(daemon, "web")
      await createVm(daemon, "db")
      writeFileSync(join(home.path, "settings.yaml"), "")
    })

    it("offer commands at every level, for nexusctl and nxc", async () => {
      const commands = ["apply", "config", "doctor", "mcp", "status", "version", "vm"]
      expect(await nexusctl.complete("nexusctl ")).toEqual(commands)
      expect(await nexusctl.complete("nxc vm ")).toEqual(
        "create delete edit inspect list logs restart start stop update wait".split(" ")
      )
      expect(await nexusctl.complete("nexusctl --daemon 127.0.0.1:2 vm li")).toEqual(["list"])
      expect(await nexusd.complete("nexusd ")).toEqual([
        "backup",
        "check",
        "install",
        "migrate",
        "restore",
        "token",
        "uninstall"
      ])
      expect(await nexusd.complete("nexusd token ")).toEqual(["new"])
    })

    it("offer the options of a command, and no others", async () => {
      const options = await nexusctl.complete("nexusctl vm list --")
      expect(options).toEqual(
        expect.arrayContaining(
          ["--role", "--state", "--output", "--daemon", "--help"].map((name) => expect.stringMatching(`^${name}=?$`))
        )
      )
      expect(options.join(" ")).not.toMatch(/wizard|log-level|vcpu|yes/)
      expect((await nexusctl.complete("nexusctl vm create --vc")).map((name) => name.replace("=", ""))).toEqual([
        "--vcpu"
      ])
      expect((await nexusd.complete("nexusd migrate --fr")).map((name) => name.replace("=", ""))).toEqual(["--from"])
    })

    it("offer the values of an option", async () => {
      expect(await nexusctl.complete("nexusctl vm create web --role ")).toEqual(roles)
      expect(await nexusctl.complete("nxc vm list --role w")).toEqual(["work"])
      expect(await nexusctl.complete("nexusctl vm list -o ")).toEqual(formats)
      expect(await nexusctl.complete("nexusctl vm list --state ")).toEqual([
        "crashed",
        "created",
        "failed",
        "running",
        "stopped"
      ])
      expect(await nexusctl.complete("nexusctl --completions ")).toEqual(["bash", "fish", "zsh"])
      const attached = await nexusctl.complete("nexusctl vm create web --role=")
      expect(attached.map((word) => word.replace("--role=", ""))).toEqual(roles)
    })

    it("offer files", async () => {
      for (const line of ["nexusctl --config sett", "nexusctl vm list --token-file sett"]) {
        expect(await nexusctl.complete(line), line).toEqual(["settings.yaml"])
      }
      for (const line of ["nexusd --db sett", "nexusd backup sett", "nexusd migrate --from sett"]) {
        expect(await nexusd.complete(line), line).toEqual(["settings.yaml"])
      }
    })

    it("offer the names of VMs", async () => {
      const env = { NEXUS_DAEMON: daemon.address }
      expect(await nexusctl.complete("nexusctl vm inspect ", env)).toEqual(["db", "web"])
      expect(await nexusctl.complete("nxc vm delete --yes w", env)).toEqual(["web"])
      expect(await nexusctl.complete(`nexusctl --daemon ${daemon.address} vm inspect `)).toEqual(["db", "web"])
      expect(await nexusctl.complete("nexusctl vm start ", env)).toEqual(["db", "web"])
      expect(await nexusctl.complete("nexusctl vm stop --timeout 0 web ", env)).toEqual(["db", "web"])
      expect(await nexusctl.complete(`nexusctl vm stop --daemon ${daemon.address} w`)).toEqual(["web"])
      // One is all that it takes; zsh offers options then, and fish names.
      if (shell === "bash") expect(await nexusctl.complete("nexusctl vm logs web ", env)).toEqual([])
    })

    it("offer the names of contexts, of the settings that the line names", async () => {
      const contexts = "contexts: { lab: { daemon: 127.0.0.1:1 }, Prod_2.x: { daemon: 127.0.0.1:1 } }"
      writeFileSync(join(home.path, "contexts.yaml"), contexts)
      const line = "nexusctl --config contexts.yaml vm list --context "
      expect(await nexusctl.complete(line)).toEqual(["Prod_2.x", "lab"])
      expect(await nexusctl.complete(`${line}P`)).toEqual(["Prod_2.x"])
      expect(await nexusctl.complete("nexusctl --context ")).toEqual([])
    })

    it("offer no names and print no error when the daemon is down", async () => {
      expect(await nexusctl.complete("nexusctl vm inspect ")).toEqual([])
      expect(await nexusctl.complete("nexusctl vm create ")).toEqual([])
    })
  })
}

describe("complete-vms", () => {
  it("prints DNS labels only, since a shell may expand other names", async ({ onTestFinished }) => {
    const names = ["web", "$(touch hacked)", "`id`", "a b", "-rf", "Web", "x\u001b[2J", "db-1"]
    const server = Http.createServer((_, response) => {
      const records = names.map((name) => record(name))
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(records))
    })
    const { address } = await listen(server, onTestFinished)
    const home = makeHome(onTestFinished)
    expect(await runCli(home, ["complete-vms", "30000", "--daemon", address])).toEqual({
      code: 0,
      stdout: "web\ndb-1\n",
      stderr: ""
    })
  })

  it("prints nothing when the daemon does not answer in time", async ({ onTestFinished }) => {
    const { address } = await listen(Http.createServer(), onTestFinished)
    const home = makeHome(onTestFinished)
    // A list waits on, so it must be the last to end.
    const list = runCli(home, ["vm", "list", "--daemon", address])
    const names = runCli(home, ["complete-vms", "300", "--daemon", address])
    expect(await Promise.race([list, names])).toEqual({ code: 0, stdout: "", stderr: "" })
    expect((await list).code).toBe(3)
  })

  it("is not in the help", async ({ onTestFinished }) => {
    const { stdout } = await runCli(makeHome(onTestFinished), ["--help"])
    expect(stdout).not.toContain("complete-vms")
  })
})
