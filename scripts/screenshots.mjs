// Takes the pictures of the web page in docs/, with VMs that run under QEMU. It needs a build, chromium, qemu-system-x86_64 and the guest of
// scripts/linux-guest.sh.
//
// node scripts/screenshots.mjs
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { chromium } from "playwright-core"

const guest = join(homedir(), ".cache/nexus/linux-guest")
const linux = {
  kernel_image_path: join(guest, "vmlinuz"),
  initrd_path: join(guest, "initrd.img"),
  boot_args: "console=ttyS0 reboot=t panic=-1 tsc_early_khz=2000000"
}
const small = { kernel_image_path: resolve("test/guest/guest.elf") }

/** Name, role, vCPUs, memory in MiB, and what becomes of it; the first is the oldest. */
const vms = /** @type {const} */ ([
  ["registry", "service", 2, 2048, "created"],
  ["metrics", "service", 1, 512, "running"],
  ["postgres", "service", 4, 4096, "running"],
  ["redis", "service", 1, 256, "running"],
  ["gateway", "portal", 2, 512, "running"],
  ["mail", "portal", 1, 256, "stopped"],
  ["ssh", "portal", 1, 128, "running"],
  ["agent-ada", "work", 2, 1024, "running"],
  ["agent-grace", "work", 2, 1024, "crashed"],
  ["agent-edsger", "work", 2, 1024, "stopped"],
  ["agent-barbara", "work", 2, 1024, "running"],
  ["sandbox-1", "work", 1, 256, "created"],
  ["sandbox-2", "work", 1, 256, "failed"],
  ["builder", "work", 4, 2048, "linux"]
])

const home = mkdtempSync(join(tmpdir(), "nexus-screenshots-"))
const daemon = spawn(process.execPath, ["dist/nexusd.cjs"], {
  env: {
    PATH: process.env["PATH"],
    HOME: home,
    NEXUS_API_LISTEN: "127.0.0.1:0",
    NEXUS_VM_VMM: "qemu",
    NEXUS_VM_ACCEL: "tcg"
  },
  stdio: ["ignore", "ignore", "pipe"]
})
let log = ""
/** @type {string} */
const url = await new Promise((resolve, reject) => {
  daemon.once("close", () => reject(new Error(log)))
  daemon.stderr.setEncoding("utf8").on("data", (text) => {
    log += text
    const [, found] = /listening on (http:\/\/[\d.:]+)/.exec(log) ?? []
    if (found !== undefined) resolve(found)
  })
})

/**
 * @param {string} path
 * @param {object} body
 * @returns {Promise<{ readonly pid: number }>} A record.
 */
const post = async (path, body = {}) => {
  const headers = { "content-type": "application/json" }
  const response = await fetch(`${url}/v1/vms${path}`, { method: "POST", headers, body: JSON.stringify(body) })
  return JSON.parse(await response.text())
}

/** @type {Array<string>} */
const running = []
try {
  for (const [name, role, vcpu_count, mem_size_mib, fate] of vms) {
    const kernel = fate === "linux" ? linux : fate === "failed" ? { kernel_image_path: resolve("package.json") } : small
    await post("", { name, role, vcpu_count, mem_size_mib, config_json: JSON.stringify({ "boot-source": kernel }) })
    if (fate === "created") continue
    const { pid } = await post(`/${name}/start`)
    if (fate === "stopped") await post(`/${name}/stop`, { force: true })
    else if (fate === "crashed") process.kill(pid, "SIGKILL")
    else running.push(name)
  }

  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] })
  /**
   * @param {import("playwright-core").BrowserContextOptions} options
   */
  const open = async (options) => {
    const page = await browser.newPage(options)
    await page.goto(url)
    await page.getByText(`${vms.length} VMs`, { exact: true }).waitFor({ state: "attached" })
    await page.locator("td .state-crashed").waitFor()
    return page
  }
  const desktop = { width: 1200, height: 760 }
  const list = await open({ viewport: desktop, colorScheme: "light" })
  await list.screenshot({ path: "docs/web-list.png" })
  await list.getByRole("link", { name: "builder", exact: true }).click()
  const console = list.getByRole("textbox", { name: "Console" })
  while (!(await console.inputValue()).includes("LINUX-READY")) await list.waitForTimeout(200)
  await list.screenshot({ path: "docs/web-vm.png" })
  const dark = await open({ viewport: desktop, colorScheme: "dark" })
  await dark.getByRole("button", { name: "New VM" }).click()
  await dark.getByRole("textbox", { name: "Name" }).fill("agent-alan")
  await dark.screenshot({ path: "docs/web-dark.png" })
  const phone = await open({ viewport: { width: 360, height: 720 }, colorScheme: "light" })
  await phone.screenshot({ path: "docs/web-phone.png" })
  await browser.close()
} finally {
  for (const name of running) await post(`/${name}/stop`, { force: true })
  daemon.kill()
  await once(daemon, "close")
  rmSync(home, { recursive: true })
}
