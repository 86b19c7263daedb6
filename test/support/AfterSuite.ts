import { afterAll } from "vitest"

/** Where a suite registers what ends after its tests: `const atEnd = afterSuite()`. The last one registered ends first. */
export const afterSuite = () => {
  const disposals: Array<() => Promise<void>> = []
  afterAll(async () => {
    for (const dispose of disposals.reverse()) await dispose()
  })
  return (dispose: () => Promise<void>): void => {
    disposals.push(dispose)
  }
}
