import { chmodSync } from "node:fs"
import { join } from "node:path"
import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, it, type TestContext, vi } from "vitest"
import { hasChromium } from "../support/Chromium.js"
import { type DaemonOptions, startDaemon } from "../support/Daemon.js"
import { freePort } from "../support/FreePort.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"
import { guestKernel, testVmms } from "../support/Vmms.js"
import { accessibilityViolations, columnTexts, openWebPage, startBrowser, type WebPage } from "../support/WebPage.js"

const maxPageBytes = 120 * 1024

const sizes = {
  desktop: { width: 1280, height: 800 },
  phone: { width: 360, height: 640 }
} as const

const row = ({ page }: WebPage, name: string) =>
  page.locator("tr[data-index]").filter({ has: page.getByRole("link", { name, exact: true }) })

/** Waits until a row has a text. */
const shows = (tab: WebPage, name: string, text: string) => row(tab, name).getByText(text, { exact: true }).waitFor()

const nameField = ({ page }: WebPage) => page.getByRole("textbox", { name: "Name" })

describe.skipIf(!hasChromium)("the web page (needs chromium on PATH)", () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await startBrowser()
  })
  afterAll(() => browser.close())

  const setUp = async ({ onTestFinished }: Pick<TestContext, "onTestFinished">, options?: DaemonOptions) => {
    const home = makeHome(onTestFinished)
    const daemon = await startDaemon(home, options)
    const open = (more?: Parameters<typeof openWebPage>[3]) => openWebPage(browser, daemon, onTestFinished, more)
    return { home, daemon, open, database: join(home.path, "state/nexus/nexus.db") }
  }

  it("is at most 120 KiB compressed, under a strict policy, and kept by its names", async (context) => {
    const { daemon } = await setUp(context)
    const get = (path: string, encoding = "gzip") =>
      fetch(`${daemon.url}${path}`, { headers: { "accept-encoding": encoding } })
    const root = await get("/")
    expect(root.headers.get("content-security-policy")).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    expect(root.headers.get("cache-control")).toBe("no-cache")
    const html = await root.text()
    expect(html).not.toMatch(/<style|style=|\son\w+=|<script(?![^>]* src="\/assets\/)|https?:/)
    const paths = Array.from(html.matchAll(/(?:href|src)="(\/assets\/[^"]*)"/g), ([, path]) => `${path}`)
    expect(paths.map((path) => path.replace(/-[0-9A-Z]{8}\./, "-HASH."))).toEqual([
      "/assets/icon-HASH.svg",
      "/assets/style-HASH.css",
      "/assets/nexus-HASH.js"
    ])

    let bytes = Number(root.headers.get("content-length"))
    for (const path of paths) {
      const { headers, ok } = await get(path)
      expect(ok, path).toBe(true)
      expect(headers.get("content-encoding"), path).toBe("gzip")
      expect(headers.get("cache-control"), path).toBe("public, max-age=31536000, immutable")
      expect(headers.get("vary"), path).toBe("accept-encoding")
      expect(headers.get("x-content-type-options"), path).toBe("nosniff")
      bytes += Number(headers.get("content-length"))
      for (const encoding of ["identity", "gzip;q=0", "br"]) {
        const plain = await get(path, encoding)
        expect(plain.headers.get("content-encoding"), `${path} as ${encoding}`).toBeNull()
        expect(Number(plain.headers.get("content-length"))).toBe((await plain.arrayBuffer()).byteLength)
      }
    }
    expect(bytes).toBeLessThanOrEqual(maxPageBytes)
  })

  it("creates a VM, by the API's own bounds and messages, and shows a conflict", async (context) => {
    const { daemon, open } = await setUp(context)
    const tab = await open()
    const { page, problems } = tab
    await page.getByText("There are no VMs yet.").waitFor()
    await page.getByRole("button", { name: "New VM" }).click()
    const vcpus = page.getByRole("spinbutton", { name: "vCPUs" })
    expect(await vcpus.getAttribute("max")).toBe("32")
    await nameField(tab).fill("Web!")
    await vcpus.fill("33")
    await page.getByRole("button", { name: "Create", exact: true }).click()
    await page.getByText('"Web!" is not a VM name').waitFor()
    await page.getByText("expected a whole number from 1 to 32, got 33").waitFor()
    expect(await listVms(daemon)).toEqual([])

    await nameField(tab).fill("web")
    await vcpus.fill("2")
    await page.getByRole("combobox", { name: "Role", exact: true }).selectOption("portal")
    await page.getByRole("spinbutton", { name: "Memory" }).fill("512")
    await page.getByRole("textbox", { name: "Configuration" }).fill('{"boot-source":{"kernel_image_path":"vmlinux"}}')
    await page.getByRole("button", { name: "Create", exact: true }).click()
    await page.getByText('boot-source.kernel_image_path: expected an absolute path, got "vmlinux"').waitFor()
    await page.getByRole("textbox", { name: "Configuration" }).fill("")
    await page.getByRole("button", { name: "Create", exact: true }).click()
    await shows(tab, "web", "created")
    expect(await listVms(daemon)).toMatchObject([{ name: "web", role: "portal", vcpu_count: 2, mem_size_mib: 512 }])

    await page.getByRole("button", { name: "New VM" }).click()
    await nameField(tab).fill("web")
    await page.getByRole("button", { name: "Create", exact: true }).click()
    await page.getByText("VM name 'web' already exists").waitFor()
    await page.keyboard.press("Escape")
    await page.getByRole("dialog").waitFor({ state: "detached" })
    expect(problems).toEqual([])
  })

  it("filters by text, role and state, and sorts by a column", async (context) => {
    const { daemon, open } = await setUp(context)
    await createVm(daemon, "web-10", { mem_size_mib: 256 })
    await createVm(daemon, "web-2", { mem_size_mib: 1024, role: "portal" })
    await createVm(daemon, "db", { mem_size_mib: 512, role: "service" })
    const { page, problems } = await open()
    await page.getByText("3 VMs", { exact: true }).waitFor()
    expect(await columnTexts(page, "name a")).toEqual(["db", "web-2", "web-10"])
    await page.getByRole("button", { name: "Name" }).click()
    expect(await columnTexts(page, "name a")).toEqual(["db", "web-2", "web-10"])
    await page.getByRole("button", { name: "Name" }).click()
    expect(await columnTexts(page, "name a")).toEqual(["web-10", "web-2", "db"])
    expect(await page.locator("th.name").getAttribute("aria-sort")).toBe("descending")
    await page.getByRole("button", { name: "Memory" }).click()
    expect(await columnTexts(page, "memory")).toEqual(["256 MiB", "512 MiB", "1 GiB"])

    await page.keyboard.press("/")
    await page.keyboard.type("WEB")
    await page.getByText("2 of 3 VMs").waitFor()
    await page.getByRole("combobox", { name: "Filter by role" }).selectOption("portal")
    await page.getByText("1 of 3 VMs").waitFor()
    expect(await columnTexts(page, "name a")).toEqual(["web-2"])
    await page.getByRole("combobox", { name: "Filter by state" }).selectOption("running")
    await page.getByText("No VM matches the filters.").waitFor()
    expect(problems).toEqual([])
  })

  it("shows what another tab and another program change", async (context) => {
    const { daemon, database, open } = await setUp(context)
    const one = await open()
    await one.page.getByText("There are no VMs yet.").waitFor()
    const two = await open({ beside: one })
    await two.page.getByText("There are no VMs yet.").waitFor()
    await one.page.bringToFront()
    await one.page.keyboard.press("n")
    await nameField(one).fill("web")
    await one.page.keyboard.press("Enter")
    await shows(two, "web", "created")

    await call(daemon, "PATCH", "/v1/vms/web", { mem_size_mib: 4096 })
    await shows(one, "web", "4 GiB")
    await two.page.getByText("of 4 GiB in all").waitFor()
    // A process that sends no events.
    withDatabase(database, (sqlite) => sqlite.exec("UPDATE vms SET name = 'renamed'"))
    await shows(one, "renamed", "created")
    await call(daemon, "DELETE", "/v1/vms/renamed")
    for (const { page, problems } of [one, two]) {
      await page.getByText("There are no VMs yet.").waitFor()
      expect(problems).toEqual([])
    }
  })

  it("shows texts of other programs as text", async (context) => {
    const { daemon, database, open } = await setUp(context)
    await createVm(daemon, "web")
    const name = "<img src=x onerror=alert(1)>\u202e\x1b[31m"
    withDatabase(database, (sqlite) => sqlite.prepare("UPDATE vms SET name = ?, config_json = '<b>'").run(name))
    const { page, problems } = await open()
    await page.getByRole("link", { name: "<img src=x onerror=alert(1)>\\u202e\\x1b[31m" }).click()
    await page.getByRole("heading", { level: 1, name: "<img src=x onerror=alert(1)>" }).waitFor()
    expect(await page.getByRole("textbox", { name: "config_json" }).inputValue()).toBe("<b>")
    expect(problems).toEqual([])
  })

  it("renders only the rows in view of 10,000 VMs", async (context) => {
    const { database, open } = await setUp(context)
    withDatabase(database, (sqlite) =>
      sqlite.exec(`INSERT INTO vms (id, name, role, state, cid, vcpu_count, mem_size_mib, created_at, updated_at)
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
        SELECT printf('%08d-0000-4000-8000-000000000000', i), printf('vm-%d', i), 'work', 'created', i + 3, 1, 128, 1000 + i, 1000
        FROM n`)
    )
    const tab = await open()
    const { page, problems } = tab
    await page.getByText("10,000 VMs", { exact: true }).waitFor()
    await row(tab, "vm-9999").waitFor()
    expect(await page.locator("tr[data-index]").count()).toBeLessThan(100)
    await page.keyboard.press("End")
    await row(tab, "vm-0").waitFor()
    expect(await page.locator("tr[data-index]").count()).toBeLessThan(100)
    expect(await row(tab, "vm-0").getAttribute("aria-rowindex")).toBe("10001")
    // The arrow keys render rows on their way.
    await row(tab, "vm-0").getByRole("link").focus()
    for (let step = 0; step < 40; step++) {
      await page.keyboard.press("ArrowUp")
      await page.locator("a:focus", { hasText: new RegExp(`^vm-${step + 1}$`) }).waitFor()
    }
    await page.keyboard.press("Enter")
    await page.getByRole("heading", { level: 1, name: "vm-40", exact: true }).waitFor()
    expect(problems).toEqual([])
  })

  it("says that the daemon is gone, and lists again when it is back", async (context) => {
    const port = await freePort()
    const options = { env: { NEXUS_API_LISTEN: `127.0.0.1:${port}` } }
    const { daemon, database, home, open } = await setUp(context, options)
    await createVm(daemon, "web")
    const tab = await open()
    const { page, problems } = tab
    await shows(tab, "web", "created")
    await page.getByText("Live", { exact: true }).waitFor()
    await daemon.stop()
    await page.getByText("Not connected; trying again").waitFor()
    await page.getByRole("button", { name: "Start web" }).click()
    await page.getByRole("alert").getByText("nexusd can't be reached").waitFor()
    withDatabase(database, (sqlite) => sqlite.exec("UPDATE vms SET name = 'renamed'"))
    await startDaemon(home, options)
    await shows(tab, "renamed", "created")
    await page.getByText("Live", { exact: true }).waitFor()
    expect(await columnTexts(page, "name a")).toEqual(["renamed"])
    expect(problems).toEqual([])
  })

  it("asks for the token once, and keeps it in the tab", async (context) => {
    const home = makeHome(context.onTestFinished)
    const token = "a".repeat(43)
    const tokenFile = home.write("token", token)
    chmodSync(tokenFile, 0o600)
    const daemon = await startDaemon(home, { config: `api:\n  token_file: ${tokenFile}\n` })
    const open = () => openWebPage(browser, daemon, context.onTestFinished)
    const tab = await open()
    const { page, problems } = tab
    const dialogOf = (of: WebPage) => of.page.getByRole("dialog", { name: "Token" })
    const field = dialogOf(tab).getByLabel("Token", { exact: true })
    await dialogOf(tab).getByText("this daemon asks for its token").waitFor()
    await field.fill("wrong")
    await page.keyboard.press("Enter")
    await dialogOf(tab).getByText("does not hold this daemon's token").waitFor()
    await field.fill(token)
    await page.keyboard.press("Enter")
    await page.getByText("There are no VMs yet.").waitFor()
    await page.reload()
    await page.getByText("There are no VMs yet.").waitFor()
    expect(await page.getByRole("dialog").count()).toBe(0)
    expect(await page.evaluate("JSON.stringify([Object.values(localStorage), document.cookie])")).toBe('[[],""]')
    const other = await openWebPage(browser, daemon, context.onTestFinished, { beside: tab })
    await dialogOf(other).getByText("this daemon asks for its token").waitFor()
    expect([...problems, ...other.problems]).toEqual([])
  })

  it("breaks no rule of axe-core, in light, in dark and on a phone", async (context) => {
    const { daemon, open } = await setUp(context)
    const { id } = await createVm(daemon, "web", { config_json: "{}" })
    await createVm(daemon, "db", { role: "service" })
    for (const [viewport, colorScheme] of [
      [sizes.desktop, "light"],
      [sizes.desktop, "dark"],
      [sizes.phone, "light"]
    ] as const) {
      const tab = await open({ viewport, colorScheme })
      const { page, problems } = tab
      const check = async (what: string) =>
        expect(await accessibilityViolations(page), `${what}, ${viewport.width} px, ${colorScheme}`).toEqual([])
      await row(tab, "web").waitFor()
      await check("the list")
      await page.keyboard.press("n")
      await page.getByRole("button", { name: "Create", exact: true }).click()
      await page.getByText("is not a VM name").waitFor()
      await check("the form")
      await page.keyboard.press("Escape")
      await page.getByRole("button", { name: "Delete web" }).click()
      await page.getByRole("dialog", { name: "Delete VM" }).waitFor()
      await check("the confirmation")
      await page.keyboard.press("Escape")
      await page.getByRole("button", { name: "Start web" }).click()
      await page.getByRole("alert").waitFor()
      await check("a failure")
      await page.getByRole("link", { name: "web", exact: true }).click()
      await page.getByText(id).waitFor()
      await check("a VM")
      // Nothing is wider than the screen.
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(viewport.width)
      expect(problems).toEqual([])
      await page.close()
    }
  })

  const vmm = testVmms.find(({ isUsable }) => isUsable)
  it.skipIf(vmm === undefined)("starts, follows, stops and deletes a VM (needs a VMM)", async (context) => {
    const { daemon, open } = await setUp(context, { env: { ...vmm?.env, NEXUS_VM_KERNEL_IMAGE: guestKernel } })
    const tab = await open()
    const { page, problems } = tab
    await page.getByRole("button", { name: "New VM" }).click()
    await nameField(tab).fill("web")
    await page.getByRole("checkbox", { name: "Start it" }).check()
    await page.keyboard.press("Enter")
    await shows(tab, "web", "running")
    await page.getByRole("link", { name: "web", exact: true }).click()
    const console = page.getByRole("textbox", { name: "Console" })
    const boots = async () => (await console.inputValue()).split("GUEST-UP").length - 1
    await vi.waitFor(async () => expect(await boots()).toBe(1), { timeout: 60_000 })
    await page.getByText(String((await listVms(daemon))[0]?.pid), { exact: true }).waitFor()
    await page.getByRole("button", { name: "Stop web" }).click()
    await page.getByRole("button", { name: "Start web" }).waitFor()
    await page.getByText(/state running → stopped/).waitFor()
    await page.getByRole("button", { name: "Start web" }).click()
    await vi.waitFor(async () => expect(await boots()).toBe(2), { timeout: 60_000 })
    await page.getByRole("button", { name: "Kill web" }).click()
    await page.getByRole("button", { name: "Delete web" }).click()
    await page.getByRole("dialog", { name: "Delete VM" }).getByRole("button", { name: "Delete" }).click()
    await page.getByRole("heading", { level: 1, name: "No such VM" }).waitFor()
    await page.getByText("deleted", { exact: true }).waitFor()
    expect(await listVms(daemon)).toEqual([])
    await page.getByRole("link", { name: "All VMs" }).click()
    await page.getByText("There are no VMs yet.").waitFor()
    expect(problems).toEqual([])
  })
})
