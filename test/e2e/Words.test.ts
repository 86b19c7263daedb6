import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { failed, runCli } from "../support/Cli.js"
import { type Daemon, runDaemon, startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { createVm, listVms } from "../support/VmCalls.js"

const home = makeHome(afterAll)
let daemon: Daemon
beforeAll(async () => {
  daemon = await startDaemon(home)
})
const nexusctl = (line: string) => runCli(home, line.split(" "), { env: { NEXUS_DAEMON: daemon.address } })

describe("--mem", () => {
  for (const [text, mib] of [
    ["512M", 512],
    ["2G", 2048],
    ["1g", 1024],
    ["256", 256]
  ] as const) {
    it(`${text} is ${mib} MiB`, async () => {
      const { stdout } = await nexusctl(`vm create mem-${text.toLowerCase()} --mem ${text} -o json`)
      expect(JSON.parse(stdout)).toMatchObject({ mem_size_mib: mib })
    })
  }

  it("is also the unit of vm update", async () => {
    await createVm(daemon, "grown")
    expect(JSON.parse((await nexusctl("vm update grown --mem 1G -o json")).stdout)).toMatchObject({
      mem_size_mib: 1024
    })
  })
})

describe("aliases", () => {
  it("vm ls, vm show and vm rm do what list, inspect and delete do", async () => {
    await createVm(daemon, "aliased")
    expect(await nexusctl("vm ls -o json")).toEqual(await nexusctl("vm list -o json"))
    expect(await nexusctl("vm show aliased")).toEqual(await nexusctl("vm inspect aliased"))
    expect(await nexusctl("vm rm aliased --yes")).toMatchObject({ code: 0, stdout: 'Deleted VM "aliased"\n' })
    expect((await listVms(daemon)).map(({ name }) => name)).not.toContain("aliased")
  })

  it("are suggested, and named in the help", async () => {
    expect((await nexusctl("vm shwo x")).stderr).toContain("; did you mean show?")
    expect((await nexusctl("vm --help")).stdout).toMatch(/^ {2}list +.*\(alias: ls\)$/m)
  })
})

describe("help", () => {
  it("nexusctl help vm create is nexusctl vm create --help", async () => {
    expect(await nexusctl("help vm create")).toEqual(await nexusctl("vm create --help"))
    expect(await nexusctl("help vm rm")).toEqual(await nexusctl("vm delete --help"))
    expect(await nexusctl("help")).toEqual(await nexusctl("--help"))
    expect(await runDaemon(home, { args: ["help", "check"] })).toEqual(
      await runDaemon(home, { args: ["check", "--help"] })
    )
  })

  it("of an unknown command is a usage error", async () => {
    expect(await nexusctl("help vm craete")).toEqual(
      failed(
        2,
        "Error: unknown command 'craete': expected one of create, list, inspect, delete, update, edit, start, stop, restart, wait, logs; did you mean create?\n" +
          "  See: nexusctl vm --help\n"
      )
    )
    expect(await nexusctl("help status now")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("unexpected argument 'now'")
    })
  })

  it("shows examples", async () => {
    expect((await nexusctl("vm create --help")).stdout).toMatch(
      /\nEXAMPLES\n {2}nexusctl vm create .*\n {2}nexusctl vm create .*\n$/
    )
  })
})
