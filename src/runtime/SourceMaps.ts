import { readFileSync } from "node:fs"
import { SourceMap } from "node:module"

/** `undefined` if the map can't be read. To throw here would replace the error whose stack trace is formatted. */
const load = (path: string): SourceMap | undefined => {
  try {
    return new SourceMap(JSON.parse(readFileSync(path, "utf8")))
  } catch {
    return undefined
  }
}

/**
 * Maps stack traces of this bundle to its sources. The source map is read at the first stack trace; `--enable-source-maps`
 * reads it at every start, and does not work with the code cache.
 */
export const mapStackTraces = (bundle: string): void => {
  let map: SourceMap | undefined
  const describeFrame = (frame: NodeJS.CallSite): string => {
    if (frame.getFileName() !== bundle) return String(frame)
    map ??= load(`${bundle}.map`)
    const entry = map?.findEntry((frame.getLineNumber() ?? 1) - 1, (frame.getColumnNumber() ?? 1) - 1)
    if (entry === undefined || !("originalSource" in entry)) return String(frame)
    const location = `${entry.originalSource.replace(/^(\.\.\/)+/, "")}:${entry.originalLine + 1}`
    const name = frame.getFunctionName()
    return name === null ? location : `${name} (${location})`
  }
  Error.prepareStackTrace = (error, frames) =>
    [String(error), ...frames.map((frame) => `    at ${describeFrame(frame)}`)].join("\n")
}
