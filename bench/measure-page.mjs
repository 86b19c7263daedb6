import { existsSync } from "node:fs"
import { join } from "node:path"
import { chromium } from "playwright-core"
import { seed } from "./seed.mjs"
import { startNexusd } from "./servers.mjs"
import { alternate, figure, median, spread } from "./statistics.mjs"

const few = 100
const many = 10_000

const executablePath = (process.env["PATH"] ?? "")
  .split(":")
  .map((folder) => join(folder, "chromium"))
  .find((path) => existsSync(path))

export const hasChromium = () => executablePath !== undefined

/** Runs in the page: the milliseconds of each frame while it scrolls, in view of which new rows come all the time. */
const scroll = `async (frames) => {
  const times = []
  const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve))
  let last = await nextFrame()
  for (let frame = 0; frame < frames; frame++) {
    scrollTo(0, (frame * 400) % (document.documentElement.scrollHeight - innerHeight))
    const now = await nextFrame()
    times.push(now - last)
    last = now
  }
  return times
}`

/**
 * Loads the web page and scrolls its list.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {number} port
 * @param {number} records
 * @param {number} frames
 */
const visit = async (browser, port, records, frames) => {
  const page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${port}/`)
  await page.getByText(`${records.toLocaleString("en")} VMs`, { exact: true }).waitFor()
  /** @type {number} */
  const listed = await page.evaluate("performance.now()")
  /** @type {number} */
  const painted = await page.evaluate(`performance.getEntriesByName("first-contentful-paint")[0].startTime`)
  /** @type {Array<number>} */
  const times = await page.evaluate(`(${scroll})(${frames})`)
  await page.close()
  const sorted = times.sort((a, b) => a - b)
  return { painted, listed, frame: sorted[Math.floor(sorted.length * 0.95)] ?? Number.NaN }
}

/**
 * The web page in Chromium with many VMs, against the same page with few.
 *
 * @param {import("./scale.mjs").Scale} scale
 * @returns {Promise<ReadonlyArray<import("./row.mjs").Row>>}
 */
export const measurePage = async ({ webPage: { frames, rounds } }) => {
  const small = await startNexusd(seed(few))
  const large = await startNexusd(seed(many))
  const browser = await chromium.launch({
    ...(executablePath && { executablePath }),
    args: ["--no-sandbox", "--no-proxy-server"]
  })
  const visits = await alternate(rounds, {
    few: () => visit(browser, small.port, few, frames),
    many: () => visit(browser, large.port, many, frames)
  })
  await browser.close()
  await small.stop()
  await large.stop()

  return /** @type {const} */ ([
    ["painted", "first paint of the web page", 1.5],
    ["listed", "web page that lists all VMs", undefined],
    ["frame", "frame of the web page while it scrolls, p95", 1.5]
  ]).map(([key, path, atMost]) => {
    const [ours, theirs] = [visits.many.map((one) => one[key]), visits.few.map((one) => one[key])]
    return {
      path: `${path}, with ${many.toLocaleString("en")} VMs`,
      nexus: `${figure(median(ours))} ms`,
      against: `with ${few} VMs ${figure(median(theirs))} ms`,
      value: median(ours) / median(theirs),
      ...(atMost !== undefined && { goal: { atMost } }),
      details: `In headless Chromium. The ratio went ${spread(ours, theirs)}.`
    }
  })
}
