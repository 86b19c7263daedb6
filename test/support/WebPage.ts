import axe from "axe-core"
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core"
import { programPath } from "../../src/services/vmm/ProgramPath.js"
import type { AtEnd } from "./Home.js"

/** Starts a browser of a test file. */
export const startBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath: programPath("chromium") ?? "chromium",
    args: ["--no-sandbox", "--no-proxy-server"]
  })

/** The web page of a daemon in a tab. */
export interface WebPage {
  readonly page: Page
  /** What the tab reported so far: errors, violations of its policy, requests to others than the daemon. */
  readonly problems: ReadonlyArray<string>
}

/** Chromium reports each answer of 4xx or 5xx, and each connection that fails. */
const isFailedRequest = (text: string) => text.startsWith("Failed to load resource: ")

/** Opens the page in a browser session of its own, or in another tab of the session of `beside`. */
export const openWebPage = async (
  browser: Browser,
  { url }: { readonly url: string },
  atEnd: AtEnd,
  { beside, path = "/", ...options }: BrowserContextOptions & { readonly path?: string; readonly beside?: WebPage } = {}
): Promise<WebPage> => {
  const context = beside?.page.context() ?? (await browser.newContext(options))
  if (beside === undefined) atEnd(() => context.close())
  const page = await context.newPage()
  const problems: Array<string> = []
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`))
  page.on("console", (message) => {
    if (!isFailedRequest(message.text())) problems.push(`console: ${message.text()}`)
  })
  page.on("request", (request) => {
    if (!request.url().startsWith(`${url}/`)) problems.push(`request: ${request.url()}`)
  })
  await page.goto(`${url}${path}`)
  return { page, problems }
}

/** The rules of accessibility (axe-core) that the page breaks as it is now, with the elements. */
export const accessibilityViolations = async (page: Page): Promise<ReadonlyArray<string>> => {
  await page.evaluate(axe.source)
  return page.evaluate<ReadonlyArray<string>>(
    `axe.run().then(({ violations }) =>
      violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => id + ": " + html + " " + failureSummary)))`
  )
}

/** The texts of a column of the list, from the top. */
export const columnTexts = (page: Page, column: string): Promise<ReadonlyArray<string>> =>
  page.locator(`tr[data-index] td.${column}`).allTextContents()
