import { readFileSync } from "node:fs"
import { SourceMap } from "node:module"

/** Nothing where there is none, or it can't be read now: a failure here would replace the error whose trace is printed. */
const load = (path: string): SourceMap | undefined => {
  try {
    return new SourceMap(JSON.parse(readFileSync(path, "utf8")))
  } catch {
    return undefined
  }
}

/**
 * Lets stack traces tell places in the sources, though this program is one bundle. The source map beside the bundle is read
 * when the first trace is asked for: Node.js's own way reads it at every start, and not for code out of a cache.
 */
export const mapStackTraces = (bundle: string): void => {
  let map: SourceMap | undefined
  const placeOf = (frame: NodeJS.CallSite): string => {
    if (frame.getFileName() !== bundle) return String(frame)
    map ??= load(`${bundle}.map`)
    const entry = map?.findEntry((frame.getLineNumber() ?? 1) - 1, (frame.getColumnNumber() ?? 1) - 1)
    if (entry === undefined || !("originalSource" in entry)) return String(frame)
    const place = `${entry.originalSource.replace(/^(\.\.\/)+/, "")}:${entry.originalLine + 1}`
    const name = frame.getFunctionName()
    return name === null ? place : `${name} (${place})`
  }
  Error.prepareStackTrace = (error, frames) =>
    [String(error), ...frames.map((frame) => `    at ${placeOf(frame)}`)].join("\n")
}
