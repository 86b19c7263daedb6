import { spawnSync } from "node:child_process"
import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it, onTestFinished } from "vitest"
import { type Home, makeHome } from "../support/Home.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"

const unitOf = (home: Home) => join(home.path, "config/systemd/user/nexus.service")

/** Runs nexusd where `systemctl` answers every question with this exit code. */
const nexusd = (home: Home, args: ReadonlyArray<string>, systemctl = 1) => {
  const bin = join(home.path, "bin")
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(bin, "systemctl"), `#!/bin/sh\nexit ${systemctl}\n`)
  chmodSync(join(bin, "systemctl"), 0o755)
  return start(home, process.execPath, [programs.nexusd, ...args], { env: { PATH: `${bin}:${home.env["PATH"]}` } })
    .ended
}

const commandIn = (unit: string) => /^ExecStart=(.*)$/m.exec(unit)?.[1]

it("install writes the shipped unit with the paths of this node and nexusd", async () => {
  const home = makeHome(onTestFinished)
  const { code, stderr, stdout } = await nexusd(home, ["install"])
  expect([code, stderr]).toEqual([0, ""])
  for (const part of [
    `Wrote ${unitOf(home)}`,
    "systemctl --user enable --now nexus.service",
    "loginctl enable-linger"
  ]) {
    expect(stdout).toContain(part)
  }
  const unit = readFileSync(unitOf(home), "utf8")
  expect(commandIn(unit)).toBe(`/bin/sh -lc 'exec "$$0" "$$@"' "${process.execPath}" "${programs.nexusd}"`)
  const withoutStart = (text: string) => text.replace(/^(#.*\n)*/, "").replace(/^ExecStart=.*$/m, "")
  expect(withoutStart(unit)).toBe(withoutStart(readFileSync("packaging/nexus.service", "utf8")))
  expect(await nexusd(home, ["install"])).toMatchObject({ code: 0, stdout: expect.stringContaining("is up to date") })
})

it("install --print writes nothing", async () => {
  const home = makeHome(onTestFinished)
  const printed = await nexusd(home, ["install", "--print", "--config", "a $b 100%.yaml"])
  expect(printed).toMatchObject({ code: 0, stderr: "" })
  expect(commandIn(printed.stdout)).toMatch(/ "--config" "\/.*\/a \$\$b 100%%\.yaml"$/)
  expect(existsSync(unitOf(home))).toBe(false)
})

const hasVerify = spawnSync("systemd-analyze", ["--version"]).status === 0

it.skipIf(!hasVerify)("systemd reads the unit (needs systemd-analyze)", async () => {
  const home = makeHome(onTestFinished)
  await nexusd(home, ["install", "--config", 'a "$b" 100%.yaml'])
  const env = { ...home.env, XDG_RUNTIME_DIR: home.path }
  const { stderr } = spawnSync("systemd-analyze", ["verify", "--user", "--man=no", unitOf(home)], {
    env,
    encoding: "utf8"
  })
  expect(stderr.split("\n").filter((line) => line.includes("nexus.service"))).toEqual([])
})

it("the unit's command line starts the program with its words as they are", async () => {
  const home = makeHome(onTestFinished)
  const { stdout } = await nexusd(home, ["install", "--print", "--config", "a $b.yaml"])
  const command = `${commandIn(stdout)}`.replaceAll("$$", () => "$").replace(/"([^"]*)"$/, "'$1'")
  const { stderr } = spawnSync("sh", ["-c", command], { env: home.env as NodeJS.ProcessEnv, encoding: "utf8" })
  expect(stderr).toBe(`Error: cannot read ${join(home.path, "a $b.yaml")}: no such file\n`)
})

it("a unit that differs is replaced only with --force", async () => {
  const home = makeHome(onTestFinished)
  home.write("config/systemd/user/nexus.service", "[Unit]\n")
  const refused = await nexusd(home, ["install"])
  expect(refused).toMatchObject({ code: 1, stdout: "" })
  expect(refused.stderr).toBe(
    `Error: ${unitOf(home)} exists already and differs: nexusd install --print shows the unit, --force replaces it\n`
  )
  expect(readFileSync(unitOf(home), "utf8")).toBe("[Unit]\n")
  expect((await nexusd(home, ["install", "--force"])).code).toBe(0)
  expect(readFileSync(unitOf(home), "utf8")).toContain(process.execPath)
})

it("install refuses --db, which the unit would not carry", async () => {
  const home = makeHome(onTestFinished)
  expect(await nexusd(home, ["install", "--db", "nexus.db"])).toMatchObject({
    code: 1,
    stderr: "Error: install takes no --db: set database.url in nexus.yaml\n"
  })
})

it("uninstall removes what install wrote, once it is stopped", async () => {
  const home = makeHome(onTestFinished)
  await nexusd(home, ["install"])
  const refused = await nexusd(home, ["uninstall"], 0)
  expect(refused).toMatchObject({ code: 1, stdout: "" })
  expect(refused.stderr).toContain("first systemctl --user disable --now nexus.service")
  expect(existsSync(unitOf(home))).toBe(true)
  const removed = await nexusd(home, ["uninstall"])
  expect(removed).toMatchObject({ code: 0, stderr: "" })
  expect(removed.stdout).toContain("systemctl --user daemon-reload")
  expect(existsSync(unitOf(home))).toBe(false)
  expect(await nexusd(home, ["uninstall"])).toMatchObject({ code: 0 })
})

it("uninstall leaves a unit that was changed, or that it did not write", async () => {
  const home = makeHome(onTestFinished)
  await nexusd(home, ["install"])
  appendFileSync(unitOf(home), "# mine\n")
  const { code, stderr } = await nexusd(home, ["uninstall"])
  expect([code, stderr]).toEqual([
    1,
    `Error: ${unitOf(home)} was not written by nexusd install, or was changed since: remove it by hand\n`
  ])
  expect(existsSync(unitOf(home))).toBe(true)
})
