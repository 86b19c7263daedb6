import { once } from "node:events"
import { writeFileSync } from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Vm } from "../../src/domain/Vm.js"
import { failed, printed, runCli, startCli } from "../support/Cli.js"
import { type Daemon, startDaemon } from "../support/Daemon.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { listen } from "../support/LocalServer.js"
import { programs } from "../support/Programs.js"
import { record } from "../support/Records.js"
import { startShell } from "../support/Shell.js"
import { hasTerminal, startOnTerminal } from "../support/Terminal.js"
import { guestKernel, isFirecrackerUsable, isQemuUsable } from "../support/Vmms.js"

type Answer = readonly [status: number, body: unknown]

/** What a daemon answers, by call: `POST /v1/vms/web/start`. A function gets the request's body. */
type Answers = Readonly<Record<string, Answer | ((body: unknown) => Answer)>>

const home = makeHome(afterAll)

/** A daemon of these answers and nothing else, and what it was asked. */
const meet = async (answers: Answers, atEnd: AtEnd) => {
  const asked: Array<string> = []
  const server = Http.createServer(async (request, response) => {
    let text = ""
    for await (const part of request.setEncoding("utf8")) text += part
    asked.push(`${request.method} ${request.url} ${text}`.trim())
    const answer = answers[`${request.method} ${request.url?.replace(/\?.*/, "")}`] ?? [404, { error: "nothing here" }]
    const [status, body] = typeof answer === "function" ? answer(text === "" ? undefined : JSON.parse(text)) : answer
    response.writeHead(status, { "content-type": typeof body === "string" ? "text/plain" : "application/json" })
    response.end(typeof body === "string" ? body : JSON.stringify(body))
  })
  const { address } = await listen(server, atEnd)
  const nexusctl = (line: string | ReadonlyArray<string>) =>
    runCli(home, typeof line === "string" ? line.split(" ") : line, { env: { NEXUS_DAEMON: address } })
  return { address, asked, nexusctl }
}

const running = (name: string, pid: number): Vm => record(name, { state: "running", pid })
const stopped = (name: string): Vm => record(name, { state: "stopped" })
const notFound = (name: string): Answer => [404, { error: `VM '${name}' not found`, _tag: "NotFound" }]
const conflict = (error: string): Answer => [409, { error, _tag: "Conflict" }]

describe.concurrent("commands of VMs that run", () => {
  it("print what they did", async ({ onTestFinished }) => {
    const web = running("web", 4711)
    const { nexusctl } = await meet(
      {
        "GET /v1/vms/web": [200, web],
        "PATCH /v1/vms/web": [200, web],
        "POST /v1/vms/web/start": [200, web],
        "POST /v1/vms/web/stop": [200, stopped("web")],
        [`POST /v1/vms/${web.id}/stop`]: [200, stopped("web")],
        [`POST /v1/vms/${web.id}/start`]: [200, { ...web, pid: 4712 }],
        "GET /v1/vms/web/wait": [200, stopped("web")]
      },
      onTestFinished
    )
    expect(await nexusctl("vm start web")).toEqual(printed('Started VM "web" (pid: 4711)\n'))
    expect(await nexusctl("vm stop web")).toEqual(printed('Stopped VM "web"\n'))
    expect(await nexusctl("vm restart web")).toEqual(printed('Restarted VM "web" (pid: 4712)\n'))
    expect(await nexusctl("vm wait web --state stopped")).toEqual(printed('VM "web" is stopped\n'))
    expect(await nexusctl("vm update web --role portal")).toEqual(printed('Updated VM "web"\n'))
    expect(await nexusctl("vm start web -o json")).toEqual(printed(`${JSON.stringify(web)}\n`))
  })

  it("send their options", async ({ onTestFinished }) => {
    const { asked, nexusctl } = await meet(
      {
        "POST /v1/vms/web/stop": [200, stopped("web")],
        "GET /v1/vms/web/wait": [200, stopped("web")],
        "GET /v1/vms/web/logs": [200, ""],
        "PATCH /v1/vms/web": [200, stopped("web")]
      },
      onTestFinished
    )
    for (const line of [
      "vm stop web",
      "vm stop web --force",
      "vm stop web --timeout 30",
      "vm stop web --host-lost --yes",
      "vm wait web --state running,stopped",
      "vm wait web --state failed --timeout 7",
      "vm logs web",
      "vm logs web --tail 0 -f",
      "vm update web --name db --vcpu 2 --mem 256 --role portal",
      "vm update web --no-config"
    ]) {
      expect((await nexusctl(line)).code, line).toBe(0)
    }
    expect(asked.map((call) => call.replace("/v1/vms/web", "…"))).toEqual([
      "POST …/stop {}",
      'POST …/stop {"force":true}',
      'POST …/stop {"timeout_s":30}',
      'POST …/stop {"host_lost":true}',
      "GET …/wait?state=running%2Cstopped&timeout_s=60",
      "GET …/wait?state=failed&timeout_s=7",
      "GET …/logs?tail=100",
      "GET …/logs?tail=0&follow=true",
      'PATCH … {"name":"db","role":"portal","vcpu_count":2,"mem_size_mib":256}',
      'PATCH … {"config_json":null}'
    ])
  })

  it("fail with the daemon's reason and an exit code of their own", async ({ onTestFinished }) => {
    const { nexusctl } = await meet(
      {
        "POST /v1/vms/web/start": conflict("VM 'web' is already running"),
        "POST /v1/vms/bad/start": [500, { error: "firecracker: Invalid kernel", _tag: "StartFailed" }],
        "POST /v1/vms/none/start": [503, { error: "no VMM is installed", _tag: "VmmUnavailable" }],
        "POST /v1/vms/ghost/start": notFound("ghost"),
        "POST /v1/vms/web/stop": conflict("VM 'web' is not running"),
        "GET /v1/vms/web/wait": [408, { error: "VM 'web' is created", _tag: "WaitTimeout" }],
        "GET /v1/vms/web/logs": conflict("VM 'web' is on host 'b'"),
        "GET /v1/vms/ghost": notFound("ghost"),
        "PATCH /v1/vms/web": conflict("cannot update VM 'web': VM is running, stop it first")
      },
      onTestFinished
    )
    const failure = (action: string, web: string, reason: string) =>
      `Error: cannot ${action} VM "${web}"\n  ${reason}\n`
    for (const [line, code, stderr] of [
      ["vm start web", 5, failure("start", "web", "VM 'web' is already running")],
      ["vm start bad", 1, failure("start", "bad", "firecracker: Invalid kernel")],
      ["vm start none", 1, failure("start", "none", "no VMM is installed")],
      ["vm start ghost", 4, 'Error: VM "ghost" not found\n'],
      ["vm restart ghost", 4, 'Error: VM "ghost" not found\n'],
      ["vm stop web", 5, failure("stop", "web", "VM 'web' is not running")],
      ["vm wait web --state running", 6, failure("wait for", "web", "VM 'web' is created")],
      ["vm logs web", 5, failure("read the log of", "web", "VM 'web' is on host 'b'")],
      ["vm update web --vcpu 2", 5, failure("update", "web", "cannot update VM 'web': VM is running, stop it first")]
    ] as const) {
      expect(await nexusctl(line), line).toEqual(failed(code, stderr))
    }
  })

  for (const line of [
    "vm stop web --timeout 601",
    "vm stop web --force=yes",
    "vm stop",
    "vm wait web",
    "vm wait web --state gone",
    "vm wait web --state running --timeout 0",
    "vm logs web --tail -1",
    "vm logs web db",
    "vm update web",
    "vm update web --no-config --kernel x",
    "vm update web db --name shop",
    "vm create web --vm-config missing.json",
    "vm create web --kernel"
  ]) {
    it(`exit 2: ${line}`, async () => {
      const { code, stderr, stdout } = await runCli(home, line.split(" "), { env: { NEXUS_DAEMON: "127.0.0.1:1" } })
      expect([code, stdout]).toEqual([2, ""])
      expect(stderr).toMatch(/^Error: /)
    })
  }

  it("refuse to give up a host without confirmation", async ({ onTestFinished }) => {
    const { asked, nexusctl } = await meet({}, onTestFinished)
    const { code, stderr } = await nexusctl("vm stop web --host-lost")
    expect([code, asked]).toEqual([1, []])
    expect(stderr).toContain("  Run with --yes to skip confirmation: nexusctl vm stop web --host-lost --yes\n")
  })

  it("say that a VM is crashed whose host is lost", async ({ onTestFinished }) => {
    const { nexusctl } = await meet(
      { "POST /v1/vms/web/stop": [200, record("web", { state: "crashed" })] },
      onTestFinished
    )
    expect(await nexusctl("vm stop web --host-lost -y")).toEqual(printed('VM "web" is crashed\n'))
  })
})

describe.concurrent("a daemon that sends no byte", () => {
  for (const [line, seconds] of [
    ["vm stop web --timeout 1", 6],
    ["vm restart web --timeout 1", 6],
    ["vm wait web --state stopped --timeout 2", 7],
    ["--timeout 1 vm stop web", 1],
    ["vm start web --timeout 1", 1]
  ] as const) {
    it(`counts as unreachable after ${seconds} s: ${line}`, async ({ onTestFinished }) => {
      const web = running("web", 1)
      const server = Http.createServer((request, response) => {
        if (request.method === "GET" && request.url === "/v1/vms/web") response.end(JSON.stringify(web))
      })
      const { address } = await listen(server, onTestFinished)
      expect(await runCli(home, [...line.split(" "), "--daemon", address])).toEqual(
        failed(
          3,
          `Error: cannot connect to Nexus daemon at ${address}\n  No byte came for ${seconds} s; --timeout S waits longer.\n`
        )
      )
    })
  }
})

describe.concurrent("several VMs", () => {
  it("are all tried; each failure is named, and the first one gives the exit code", async ({ onTestFinished }) => {
    const { asked, nexusctl } = await meet(
      {
        "POST /v1/vms/a/start": [200, running("a", 1)],
        "POST /v1/vms/b/start": conflict("VM 'b' is already running"),
        "POST /v1/vms/c/start": notFound("c"),
        "POST /v1/vms/d/start": [200, running("d", 4)]
      },
      onTestFinished
    )
    expect(await nexusctl("vm start a b c d")).toEqual({
      code: 5,
      stdout: 'Started VM "a" (pid: 1)\nStarted VM "d" (pid: 4)\n',
      stderr: `Error: cannot start VM "b"\n  VM 'b' is already running\nError: VM "c" not found\n`
    })
    expect(asked).toHaveLength(4)
  })

  it("are all updated that can be", async ({ onTestFinished }) => {
    const { asked, nexusctl } = await meet(
      {
        "PATCH /v1/vms/a": notFound("a"),
        "PATCH /v1/vms/b": [200, record("b")],
        "PATCH /v1/vms/c": conflict("cannot update VM 'c': VM is running, stop it first")
      },
      onTestFinished
    )
    expect(await nexusctl("vm update a b c --vcpu 2")).toEqual({
      code: 4,
      stdout: 'Updated VM "b"\n',
      stderr:
        'Error: VM "a" not found\n' +
        `Error: cannot update VM "c"\n  cannot update VM 'c': VM is running, stop it first\n`
    })
    expect(asked).toEqual(["a", "b", "c"].map((name) => `PATCH /v1/vms/${name} {"vcpu_count":2}`))
  })

  it("are started side by side, and printed in the order of their names", async ({ onTestFinished }) => {
    const arrived: Array<string> = []
    const names = Array.from({ length: 20 }, (_, index) => `vm${index}`)
    // Answers, the last first, once all have come.
    const waiting: Array<() => void> = []
    const server = Http.createServer((request, response) => {
      const name = request.url?.split("/")[3] ?? ""
      arrived.push(name)
      waiting.push(() => response.setHeader("content-type", "application/json").end(JSON.stringify(running(name, 7))))
      if (arrived.length === names.length) for (const answer of waiting.reverse()) answer()
    })
    const { address } = await listen(server, onTestFinished)
    expect(await runCli(home, ["vm", "start", ...names, "--daemon", address])).toEqual(
      printed(names.map((name) => `Started VM "${name}" (pid: 7)\n`).join(""))
    )
  })

  it("are inspected and deleted one after the other", async ({ onTestFinished }) => {
    const { asked, nexusctl } = await meet(
      {
        "GET /v1/vms/a": [200, record("a")],
        "GET /v1/vms/b": notFound("b"),
        "GET /v1/vms/c": [200, record("c")],
        "DELETE /v1/vms/a": notFound("a"),
        "DELETE /v1/vms/b": conflict("cannot delete VM 'b': VM is running, stop it first")
      },
      onTestFinished
    )
    const inspected = await nexusctl("vm inspect a b c")
    expect([inspected.code, inspected.stderr]).toEqual([4, 'Error: VM "b" not found\n'])
    expect(inspected.stdout).toMatch(/^Name: {7}a\n(?:[^\n]+\n)+\nName: {7}c\n(?:[^\n]+\n)+$/)
    const json = await nexusctl("vm inspect a c -o json")
    expect(
      json.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).name)
    ).toEqual(["a", "c"])
    expect(await nexusctl("vm delete a b --yes")).toEqual(
      failed(
        4,
        `Error: VM "a" not found\nError: cannot delete VM "b"\n  cannot delete VM 'b': VM is running, stop it first\n`
      )
    )
    expect(await nexusctl("vm delete a b")).toEqual(
      failed(
        1,
        "Error: refusing to delete VM without confirmation\n  Run with --yes to skip confirmation: nexusctl vm delete a b --yes\n"
      )
    )
    expect(asked.filter((call) => call.startsWith("DELETE"))).toHaveLength(2)
  })

  it("name a daemon that can't be reached once", async () => {
    const { code, stderr } = await runCli(home, ["vm", "stop", "a", "b", "c", "--daemon", "127.0.0.1:1"])
    expect(code).toBe(3)
    expect(stderr.match(/Error:/g)).toHaveLength(1)
  })
})

describe.concurrent("a restart", () => {
  const web = running("web", 1)

  it("starts a VM that does not run", async ({ onTestFinished }) => {
    const vm = stopped("web")
    const { asked, nexusctl } = await meet(
      { "GET /v1/vms/web": [200, vm], [`POST /v1/vms/${vm.id}/start`]: [200, web] },
      onTestFinished
    )
    expect(await nexusctl("vm restart web --force")).toEqual(printed('Restarted VM "web" (pid: 1)\n'))
    expect(asked).toHaveLength(2)
  })

  it("starts a VM that ends by itself meanwhile", async ({ onTestFinished }) => {
    const { nexusctl } = await meet(
      {
        "GET /v1/vms/web": [200, web],
        [`POST /v1/vms/${web.id}/stop`]: conflict("VM 'web' is not running"),
        [`GET /v1/vms/${web.id}`]: [200, { ...web, state: "crashed" }],
        [`POST /v1/vms/${web.id}/start`]: [200, web]
      },
      onTestFinished
    )
    expect((await nexusctl("vm restart web")).code).toBe(0)
  })

  it("fails where the stop is refused", async ({ onTestFinished }) => {
    const { asked, nexusctl } = await meet(
      {
        "GET /v1/vms/web": [200, web],
        [`POST /v1/vms/${web.id}/stop`]: conflict("VM 'web' is on host 'b': ask that host's nexusd"),
        [`GET /v1/vms/${web.id}`]: [200, web]
      },
      onTestFinished
    )
    expect(await nexusctl("vm restart web --timeout 3")).toEqual(
      failed(5, `Error: cannot restart VM "web"\n  VM 'web' is on host 'b': ask that host's nexusd\n`)
    )
    expect(asked[1]).toContain('{"timeout_s":3}')
  })
})

describe.concurrent("a VM's configuration", () => {
  const create: Answers = {
    "POST /v1/vms": (body) => [201, { ...record("web"), ...(body as object) }],
    "POST /v1/vms/web/start": [200, running("web", 1)]
  }
  const sent = ({ asked }: { readonly asked: ReadonlyArray<string> }): unknown => {
    const body = /^(?:POST|PATCH) \S+ (.*)$/.exec(asked.at(-1) ?? "")?.[1] ?? "{}"
    const { config_json } = JSON.parse(body)
    return typeof config_json === "string" ? JSON.parse(config_json) : config_json
  }

  it("is made of the options, with absolute paths", async ({ onTestFinished }) => {
    const daemon = await meet(create, onTestFinished)
    const options = ["--kernel=~/vmlinux", "--initrd", "/boot/initrd", "--rootfs", "disks/../web.ext4:ro"]
    const { code } = await daemon.nexusctl(["vm", "create", "web", ...options, "--boot-args", "console=ttyS0 quiet"])
    expect(code).toBe(0)
    expect(sent(daemon)).toEqual({
      "boot-source": {
        kernel_image_path: join(home.path, "vmlinux"),
        initrd_path: "/boot/initrd",
        boot_args: "console=ttyS0 quiet"
      },
      drives: [
        { drive_id: "rootfs", path_on_host: join(home.path, "web.ext4"), is_root_device: true, is_read_only: true }
      ]
    })
    await daemon.nexusctl("vm create web")
    expect(sent(daemon)).toBeUndefined()
  })

  const data = { drive_id: "data", path_on_host: "/data", is_root_device: false }
  const file = {
    "boot-source": { kernel_image_path: "/k", boot_args: "a" },
    drives: [{ drive_id: "r", path_on_host: "/r", is_root_device: true }, data]
  }

  it("is the file's text, as it is or with what the options name", async ({ onTestFinished }) => {
    const daemon = await meet(create, onTestFinished)
    const text = JSON.stringify(file, null, 3)
    const path = home.write("vm.json", text)
    await daemon.nexusctl(["vm", "create", "web", "--vm-config", path])
    expect(daemon.asked[0]).toContain(JSON.stringify(text))
    await daemon.nexusctl(["vm", "create", "web", "--vm-config", path, "--rootfs", "/new", "--boot-args", "b"])
    expect(sent(daemon)).toEqual({
      "boot-source": { kernel_image_path: "/k", boot_args: "b" },
      drives: [{ drive_id: "rootfs", path_on_host: "/new", is_root_device: true, is_read_only: false }, data]
    })
  })

  for (const [text, problem] of [
    ["{", "expected JSON text"],
    [
      '{"drives":[{"drive_id":"a","path_on_host":"x","is_root_device":true}]}',
      "drives.0.path_on_host: expected an absolute path"
    ],
    ['{"machine-config":{}}', "machine-config: machine-config is derived from the record: leave it out"],
    [" ".repeat(64 * 1024 + 1), "larger than 65536 bytes"]
  ] as const) {
    it(`fails with the file and the member: ${problem}`, async ({ onTestFinished }) => {
      const { asked, nexusctl } = await meet(create, onTestFinished)
      const path = home.write(`bad-${problem.length}.json`, text)
      const { code, stderr } = await nexusctl(["vm", "create", "web", "--vm-config", path])
      expect([code, asked]).toEqual([2, []])
      expect(stderr).toMatch(/^Error: [^\n]+\n$/)
      expect(stderr).toContain(path)
      expect(stderr).toContain(problem)
    })
  }

  it("is changed in parts by an update", async ({ onTestFinished }) => {
    const vm = record("web", { config_json: JSON.stringify(file) })
    const daemon = await meet(
      { "GET /v1/vms/web": [200, vm], [`PATCH /v1/vms/${vm.id}`]: [200, vm], "PATCH /v1/vms/web": [200, vm] },
      onTestFinished
    )
    await daemon.nexusctl("vm update web --kernel /new")
    expect(sent(daemon)).toEqual({ ...file, "boot-source": { kernel_image_path: "/new", boot_args: "a" } })
    const path = home.write("whole.json", "{}")
    await daemon.nexusctl(["vm", "update", "web", "--vm-config", path])
    expect(sent(daemon)).toEqual({})
  })

  it("is read again if another client changes it before the update", async ({ onTestFinished }) => {
    const daemon = await startDaemon(home, { env: { NEXUS_DATABASE_URL: join(home.path, "changed.db") } })
    const config = (kernel: string) => JSON.stringify({ "boot-source": { kernel_image_path: kernel } })
    await call(daemon, "PUT", "/v1/vms/web", { config_json: config("/old") })
    // Between nexusctl and the daemon: another client is faster, so many times.
    let others = 0
    const proxy = Http.createServer((request, response) => {
      const change = async () => {
        if (request.method !== "PATCH" || others === 0) return
        others--
        await call(daemon, "PATCH", "/v1/vms/web", { config_json: config(`/other-${others}`) })
      }
      void change().then(() => {
        const { headers, method, url: path } = request
        const to = { port: daemon.port, method, path, headers: { ...headers, host: daemon.address } }
        const forwarded = Http.request(to, (answer) => {
          response.writeHead(answer.statusCode ?? 0, answer.headers)
          answer.pipe(response)
        })
        request.pipe(forwarded)
      })
    })
    const { address } = await listen(proxy, onTestFinished)
    const update = (args: string) => runCli(home, [...`vm update web ${args}`.split(" "), "--daemon", address])
    others = 2
    expect(await update("--boot-args quiet --vcpu 2")).toEqual(printed('Updated VM "web"\n'))
    const { body } = await call(daemon, "GET", "/v1/vms/web")
    expect(body).toMatchObject({ vcpu_count: 2 })
    expect(JSON.parse(Object(body).config_json)).toEqual({
      "boot-source": { kernel_image_path: "/other-0", boot_args: "quiet" }
    })
    others = 1000
    const { code, stderr } = await update("--boot-args loud")
    expect(stderr).toMatch(/^Error: cannot update VM "web"\n {2}VM 'web' is not as it was when it was read/)
    expect(code).toBe(5)
    await daemon.stop()
  })

  it("that can't be read is not changed in parts", async ({ onTestFinished }) => {
    const vm = record("web", { config_json: '{"machine-config":{}}' })
    const { asked, nexusctl } = await meet({ "GET /v1/vms/web": [200, vm] }, onTestFinished)
    const { code, stderr } = await nexusctl("vm update web --kernel /new")
    expect([code, asked.length]).toEqual([2, 1])
    expect(stderr).toContain("machine-config")
  })

  it("that a daemon ignored is an error", async ({ onTestFinished }) => {
    const { nexusctl } = await meet({ "POST /v1/vms": [201, record("web")] }, onTestFinished)
    expect(await nexusctl("vm create web --kernel /k --start")).toEqual(
      failed(
        1,
        `Error: this nexusd is too old for "vm create --kernel"
  It created the VM without its configuration.
  Delete it: nexusctl vm delete web --yes
`
      )
    )
  })
})

describe.concurrent("create --if-not-exists", () => {
  const taken = conflict("VM name 'web' already exists")
  const hint = "\n  Inspect it: nexusctl vm inspect web\n"
  const exists = (vm: Vm) => `VM "web" already exists (state: ${vm.state}, CID: 3)\n${hint}`

  it("creates a VM, and succeeds where one has that name", async ({ onTestFinished }) => {
    const vm = record("web", { vcpu_count: 2 })
    const created = await meet({ "POST /v1/vms": [201, vm] }, onTestFinished)
    expect(await created.nexusctl("vm create web --if-not-exists")).toEqual(
      printed(`Created VM "web" (state: created, CID: 3)\n${hint}`)
    )
    const { asked, nexusctl } = await meet({ "POST /v1/vms": taken, "GET /v1/vms/web": [200, vm] }, onTestFinished)
    expect(await nexusctl("vm create web --if-not-exists --kernel /k")).toEqual(printed(exists(vm)))
    expect(JSON.parse((await nexusctl("vm create web --if-not-exists -o json")).stdout)).toEqual(vm)
    expect(asked.filter((call) => !call.startsWith("POST /v1/vms {"))).toEqual(["GET /v1/vms/web", "GET /v1/vms/web"])
  })

  it("fails for other conflicts, and does not take another VM for that one", async ({ onTestFinished }) => {
    const failure = (message: string) => failed(5, `Error: cannot create VM "web"\n  ${message}\n`)
    const full = await meet(
      { "POST /v1/vms": conflict("no free CID"), "GET /v1/vms/web": notFound("web") },
      onTestFinished
    )
    expect(await full.nexusctl("vm create web --if-not-exists")).toEqual(failure("no free CID"))
    const other = await meet(
      { "POST /v1/vms": conflict("no free CID"), "GET /v1/vms/web": [200, record("other", { id: "web" })] },
      onTestFinished
    )
    expect(await other.nexusctl("vm create web --if-not-exists")).toEqual(failure("no free CID"))
  })

  it("starts a VM that exists, unless it runs", async ({ onTestFinished }) => {
    const vm = stopped("web")
    const answers = { "POST /v1/vms": taken, [`POST /v1/vms/${vm.id}/start`]: [200, running("web", 7)] } as const
    const idle = await meet({ ...answers, "GET /v1/vms/web": [200, vm] }, onTestFinished)
    expect(await idle.nexusctl("vm create web --if-not-exists --start")).toEqual(
      printed(`VM "web" already exists (state: stopped, CID: 3)\nStarted VM "web" (pid: 7)\n${hint}`)
    )
    const busy = await meet({ ...answers, "GET /v1/vms/web": [200, running("web", 7)] }, onTestFinished)
    expect(await busy.nexusctl("vm create web --if-not-exists --start")).toEqual(printed(exists(running("web", 7))))
  })
})

describe.concurrent("create --start", () => {
  const vm = record("web")

  it("prints the record and the start", async ({ onTestFinished }) => {
    const { nexusctl } = await meet(
      { "POST /v1/vms": [201, vm], [`POST /v1/vms/${vm.id}/start`]: [200, running("web", 9)] },
      onTestFinished
    )
    expect(await nexusctl("vm create web --start")).toEqual(
      printed(
        `Created VM "web" (state: created, CID: 3)
Started VM "web" (pid: 9)

  Inspect it: nexusctl vm inspect web
`
      )
    )
    const json = await nexusctl("vm create web --start -o json")
    expect(JSON.parse(json.stdout)).toMatchObject({ state: "running" })
  })

  it("fails with the start's exit code; the record stays", async ({ onTestFinished }) => {
    const { asked, nexusctl } = await meet(
      { "POST /v1/vms": [201, vm], [`POST /v1/vms/${vm.id}/start`]: conflict("cannot start VM 'web': no kernel") },
      onTestFinished
    )
    const hint = "  Inspect it: nexusctl vm inspect web\n"
    expect(await nexusctl("vm create web --start")).toEqual({
      code: 5,
      stdout: `Created VM "web" (state: created, CID: 3)\n\n${hint}`,
      stderr: `Error: cannot start VM "web"\n  cannot start VM 'web': no kernel\n`
    })
    expect(JSON.parse((await nexusctl("vm create web --start -o json")).stdout)).toEqual(vm)
    expect(asked.some((call) => call.startsWith("DELETE"))).toBe(false)
  })
})

describe.concurrent("a daemon that lacks a route", () => {
  const answers: ReadonlyArray<readonly [string, Answer]> = [
    ["of the plan: 404 without a _tag", [404, { error: "VM 'web/start' not found" }]],
    ["of the plan: 404 without a body", [404, ""]],
    ["of the plan: 405", [405, ""]],
    ["of ours: RouteNotFound", [404, { error: "nothing is served there", _tag: "RouteNotFound" }]],
    ["of ours: MethodNotAllowed", [405, { error: "no", _tag: "MethodNotAllowed", allowed: ["GET"] }]]
  ]
  for (const [which, answer] of answers) {
    it(`is too old (${which})`, async ({ onTestFinished }) => {
      const web = running("web", 1)
      const { nexusctl } = await meet(
        {
          "GET /v1/vms/web": [200, web],
          "PATCH /v1/vms/web": answer,
          "POST /v1/vms/web/start": answer,
          "POST /v1/vms/web/stop": answer,
          [`POST /v1/vms/${web.id}/stop`]: answer,
          "GET /v1/vms/web/logs": answer,
          "GET /v1/vms/web/wait": answer
        },
        onTestFinished
      )
      for (const command of ["start web", "stop web", "restart web", "logs web", "wait web --state stopped"]) {
        expect(await nexusctl(`vm ${command}`), command).toEqual(
          failed(1, `Error: this nexusd is too old for "vm ${command.split(" ")[0]}"\n`)
        )
      }
      expect(await nexusctl("vm update web --vcpu 2")).toEqual(
        failed(1, 'Error: this nexusd is too old for "vm update"\n')
      )
    })
  }
})

describe.concurrent("the log of a VM", () => {
  const bytes = Buffer.from([0xff, 0x00, 0x0d, 0x0a, 0x1b, 0x5b, 0x32, 0x4a, 0xe2, 0x82, 0xac, 0x0a])

  const serving = async (respond: (response: Http.ServerResponse) => void, atEnd: AtEnd) => {
    const server = Http.createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/plain; charset=utf-8" })
      respond(response)
    })
    return (await listen(server, atEnd)).address
  }

  it("goes into a pipe or file unchanged", async ({ onTestFinished }) => {
    const address = await serving((response) => response.end(bytes), onTestFinished)
    const file = join(home.path, "log.bin")
    const line = `"$NODE" "$NEXUSCTL" vm logs web --daemon ${address} > '${file}'; od -An -tx1 '${file}'`
    const { stdout } = await startShell(home, line).ended
    expect(stdout.replace(/\s/g, "")).toBe(bytes.toString("hex"))
    const piped = await startShell(home, `${line.replace(/>.*/, "")} | od -An -tx1`).ended
    expect(piped.stdout.replace(/\s/g, "")).toBe(bytes.toString("hex"))
  })

  it.skipIf(!hasTerminal)("is escaped on a terminal (needs script)", async ({ onTestFinished }) => {
    const address = await serving((response) => {
      response.write(bytes.subarray(0, 9))
      setTimeout(() => response.end(bytes.subarray(9)), 50)
    }, onTestFinished)
    const { code, stdout } = await startOnTerminal(home, programs.nexusctl, `vm logs web --daemon ${address}`).ended
    expect([code, stdout.replaceAll("\r\n", "\n")]).toEqual([0, "\ufffd\\x00\n\\x1b[2J€\n"])
  })

  it("is followed beyond any timeout, until the VM stops", async ({ onTestFinished }) => {
    const address = await serving((response) => {
      response.write("1\n")
      setTimeout(() => response.end("2\n"), 1500)
    }, onTestFinished)
    expect(await runCli(home, ["vm", "logs", "web", "-f", "--timeout", "1", "--daemon", address])).toEqual(
      printed("1\n2\n")
    )
    const silent = await runCli(home, ["vm", "logs", "web", "--timeout", "1", "--daemon", address])
    expect([silent.code, silent.stdout]).toEqual([3, "1\n"])
  })

  it("is followed until the reader closes the pipe", async ({ onTestFinished }) => {
    const address = await serving((response) => {
      const timer = setInterval(() => response.write("line\n"), 20)
      response.once("close", () => clearInterval(timer))
    }, onTestFinished)
    const line = `"$NODE" "$NEXUSCTL" vm logs web -f --daemon ${address}; echo "code $?" >&2`
    expect(await startShell(home, `{ ${line}; } | head -n 2`).ended).toEqual({
      code: 0,
      stdout: "line\nline\n",
      stderr: "code 0\n"
    })
  })

  it("ends with an error where the connection is lost", async ({ onTestFinished }) => {
    const address = await serving((response) => {
      response.write("1\n")
      setTimeout(() => response.destroy(), 50)
    }, onTestFinished)
    expect(await runCli(home, ["vm", "logs", "web", "-f", "--daemon", address])).toEqual({
      code: 1,
      stdout: "1\n",
      stderr: `Error: cannot read the log of VM "web"\n  The connection was closed before the answer was complete.\n`
    })
  })

  it("ends with 130 on Ctrl-C", async ({ onTestFinished }) => {
    const address = await serving((response) => void response.write("1\n"), onTestFinished)
    const following = startCli(home, ["vm", "logs", "web", "-f", "--daemon", address])
    if (following.child.stdout !== null) await once(following.child.stdout, "data")
    following.child.kill("SIGINT")
    expect(await following.ended).toEqual({ code: 130, stdout: "1\n", stderr: "" })
  })
})

const vmms = [
  ["firecracker", isFirecrackerUsable, "Firecracker on the PATH and /dev/kvm"],
  ["qemu", isQemuUsable, "qemu-system-x86_64"]
] as const

for (const [vmm, isUsable, needs] of vmms) {
  describe.skipIf(!isUsable)(`VMs under ${vmm}${isUsable ? "" : ` (needs ${needs})`}`, () => {
    const home = makeHome(afterAll)
    let daemon: Daemon
    beforeAll(async () => {
      daemon = await startDaemon(home, { config: `vm: { vmm: ${vmm}, accel: tcg, stop_timeout: 2 }` })
    })
    const nexusctl = (line: string | ReadonlyArray<string>) =>
      runCli(home, typeof line === "string" ? line.split(" ") : line, { env: { NEXUS_DAEMON: daemon.address } })
    const get = async (name: string) => (await call(daemon, "GET", `/v1/vms/${name}`)).body as Vm
    const create = (name: string, bootArgs: string) =>
      nexusctl(["vm", "create", name, "--kernel", guestKernel, "--boot-args", bootArgs, "--start"])

    it("are created, shown, restarted, stopped and deleted", async () => {
      expect(await create("web", "guest=line")).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/^Started VM "web" \(pid: \d+\)$/m)
      })
      const { console_log_path, pid } = await get("web")
      const { stdout } = await nexusctl("vm inspect web")
      expect(stdout).toContain(`\nPID:        ${pid}\nVMM:        ${vmm}\n`)
      expect(stdout).toContain(`\nLog:        ${console_log_path}\n`)
      expect(stdout).toMatch(vmm === "qemu" ? /\nVsock: {6}CID 3\n/ : /\nVsock: {6}\/\S+\/vsock\.sock\n/)
      expect((await nexusctl("vm delete web -y")).code).toBe(5)
      const restarted = await nexusctl("vm restart web")
      expect(restarted.stdout).toBe(`Restarted VM "web" (pid: ${(await get("web")).pid})\n`)
      expect((await get("web")).pid).not.toBe(pid)
      expect(await nexusctl("vm stop web --force")).toEqual(printed('Stopped VM "web"\n'))
      expect(await nexusctl("vm wait web --state stopped")).toEqual(printed('VM "web" is stopped\n'))
      expect((await nexusctl("vm logs web")).stdout.match(/GUEST-UP/g)).toHaveLength(2)
      expect(await nexusctl("vm delete web -y")).toEqual(printed('Deleted VM "web"\n'))
    })

    it("are followed until they stop; Ctrl-C leaves them running", async () => {
      await create("log", "guest=line")
      const followed = startCli(home, ["vm", "logs", "log", "-f"], { env: { NEXUS_DAEMON: daemon.address } })
      const left = startCli(home, ["vm", "logs", "log", "-f"], { env: { NEXUS_DAEMON: daemon.address } })
      while (!left.said.stdout.includes("GUEST-UP") || !followed.said.stdout.includes("GUEST-UP")) await sleep(20)
      left.child.kill("SIGINT")
      expect((await left.ended).code).toBe(130)
      expect((await get("log")).state).toBe("running")
      await nexusctl("vm stop log")
      expect(await followed.ended).toMatchObject({ code: 0, stderr: "" })
      expect((await nexusctl("vm delete log -y")).code).toBe(0)
    })

    it("keep their record when they can't start", async () => {
      const bad = join(home.path, "bad.elf")
      writeFileSync(bad, "not a kernel")
      const result = await nexusctl(["vm", "create", "bad", "--kernel", bad, "--start"])
      expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/^Error: cannot start VM "bad"\n {2}/) })
      expect((await get("bad")).state).toBe("failed")
      const missing = await nexusctl("vm create missing --kernel /nonexistent --start")
      expect(missing).toMatchObject({ code: 5, stderr: expect.stringContaining("/nonexistent") })
      expect((await get("missing")).state).toBe("created")
    })
  })
}
