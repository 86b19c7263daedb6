import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import * as Http from "node:http"
import { connect } from "node:net"
import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { callApi } from "../../src/services/vmm/FirecrackerApi.js"
import { type AtEnd, makeHome } from "../support/Home.js"
import { sendRequest } from "../support/HttpJson.js"
import { startShell } from "../support/Shell.js"
import { killVmms, vmmProcesses } from "../support/VmmProcesses.js"
import { guestKernel, testVmms } from "../support/Vmms.js"

const hasTaps =
  existsSync("/dev/net/tun") &&
  spawnSync("unshare", ["--net", "ip", "tuntap", "add", "tap0", "mode", "tap"]).status === 0
const needs = hasTaps ? "" : " (needs root, unshare, ip and /dev/net/tun)"

/** Connects to a Unix socket, whatever the address. */
class UnixAgent extends Http.Agent {
  constructor(readonly socketPath: string) {
    super()
  }
  override createConnection() {
    return connect(this.socketPath)
  }
}

/** A nexusd in a network namespace with the tap `tap0`. */
const setUp = async (onTestFinished: AtEnd, env: Readonly<Record<string, string>>) => {
  const home = makeHome(onTestFinished)
  onTestFinished(async () => killVmms(home))
  const socketPath = `${home.path}/api.sock`
  const daemon = startShell(
    home,
    `exec unshare --net sh -c 'ip tuntap add tap0 mode tap && ip link set tap0 up && exec "$NODE" "$NEXUSD"'`,
    { env: { ...env, NEXUS_API_LISTEN: `unix:${socketPath}` } }
  )
  await expect.poll(() => daemon.said.stderr, { timeout: 60_000 }).toContain("listening on")
  const agent = new UnixAgent(socketPath)
  const call = async (method: string, path: string, content?: object) => {
    const { status, text } = await sendRequest({ url: "http://localhost" }, method, path, { agent, content })
    return { status, body: JSON.parse(text) }
  }
  const create = (name: string, tap: string) =>
    call("POST", "/v1/vms", {
      name,
      config_json: JSON.stringify({
        "boot-source": { kernel_image_path: guestKernel, boot_args: "guest=deaf" },
        "network-interfaces": [{ iface_id: "eth0", host_dev_name: tap, guest_mac: "06:00:ac:10:00:02" }]
      })
    })
  const interfaces = () => spawnSync("nsenter", ["--net", "--target", String(daemon.child.pid), "ip", "-o", "link"])
  return { home, call, create, interfaces: () => interfaces().stdout.toString() }
}

/** The taps that a process has open: the kernel names them in the descriptor's information. */
const tapsOf = (pid: number): ReadonlyArray<string> =>
  readdirSync(`/proc/${pid}/fdinfo`).flatMap(
    (descriptor) => /^iff:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, "utf8"))?.slice(1) ?? []
  )

for (const { env, isUsable, name: vmm } of testVmms) {
  describe.skipIf(!isUsable || !hasTaps)(`taps under ${vmm}${needs}`, () => {
    it("are attached, one VM each", async ({ onTestFinished }) => {
      const { call, create, home } = await setUp(onTestFinished, env)
      await create("web", "tap0")
      const { body, status } = await call("POST", "/v1/vms/web/start")
      expect({ status, body }).toMatchObject({ status: 200, body: { state: "running" } })
      expect(tapsOf(body.pid)).toEqual(["tap0"])
      if (vmm === "firecracker") {
        const config = await Effect.runPromise(callApi(body.socket_path, { method: "GET", path: "/vm/config" }))
        expect(JSON.parse(config)["network-interfaces"]).toMatchObject([
          { iface_id: "eth0", host_dev_name: "tap0", guest_mac: "06:00:ac:10:00:02" }
        ])
      }

      await create("db", "tap0")
      const second = await call("POST", "/v1/vms/db/start")
      expect(second).toMatchObject({ status: 500, body: { _tag: "StartFailed" } })
      expect(second.body.error).toMatch(
        /^cannot start VM 'db': .*tap0.*Device or resource busy|Device or resource busy.*tap0/
      )
      expect(await call("GET", "/v1/vms/db")).toMatchObject({ body: { state: "failed" } })
      expect(vmmProcesses(home)).toHaveLength(1)

      expect((await call("POST", "/v1/vms/web/stop", { force: true })).status).toBe(200)
      expect(await call("POST", "/v1/vms/db/start")).toMatchObject({ status: 200 })
    })

    it("that do not exist are refused, and not made", async ({ onTestFinished }) => {
      const { call, create, home, interfaces } = await setUp(onTestFinished, env)
      await create("web", "tap9")
      expect(await call("POST", "/v1/vms/web/start")).toMatchObject({
        status: 409,
        body: { error: expect.stringMatching(/^cannot start VM 'web': tap 'tap9' does not exist on this host: /) }
      })
      expect(await call("GET", "/v1/vms/web")).toMatchObject({ body: { state: "created" } })
      expect(vmmProcesses(home)).toEqual([])
      expect(interfaces()).toContain("tap0")
      expect(interfaces()).not.toContain("tap9")
    })
  })
}
