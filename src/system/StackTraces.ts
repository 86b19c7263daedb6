import { existsSync, readFileSync } from "node:fs"
import { SourceMap } from "node:module"

const load = (path: string): SourceMap | undefined =>
  existsSync(path) ? new SourceMap(JSON.parse(readFileSync(path, "utf8"))) : undefined

/**
 * Lets stack traces tell places in the sources, though this program is one bundle. The source map beside the bundle is read
 * when the first trace is asked for: Node.js's own way reads it at every start, and not for code out of a cache.
 */
export const mapStackTraces = (bundle: string): void => {
  let map: { readonly of: SourceMap | undefined } | undefined
  const placeOf = (frame: NodeJS.CallSite): string => {
    if (frame.getFileName() !== bundle) return String(frame)
    map ??= { of: load(`${bundle}.map`) }
    const entry = map.of?.findEntry((frame.getLineNumber() ?? 1) - 1, (frame.getColumnNumber() ?? 1) - 1)
    if (entry === undefined || !("originalSource" in entry)) return String(frame)
    const place = `${entry.originalSource.replace(/^(\.\.\/)+/, "")}:${entry.originalLine + 1}`
    const name = frame.getFunctionName()
    return name === null ? place : `${name} (${place})`
  }
  Error.prepareStackTrace = (error, frames) =>
    [String(error), ...frames.map((frame) => `    at ${placeOf(frame)}`)].join("\n")
}
