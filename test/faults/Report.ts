import { appendFileSync } from "node:fs"

/** Whether the faults are tried at full scale (`npm run test:faults`) or at the scale of `npm test`. */
export const isFull = process.env["NEXUS_FAULTS"] === "full"

/** How many trials to run, at either scale. */
export const trials = (full: number, short: number): number => (isFull ? full : short)

/** One line of the table that `npm run test:faults` prints. */
export interface Finding {
  /** The promise it is about, as docs/reliability.md names it. */
  readonly promise: string
  /** What was done to break it, and how often. */
  readonly trials: string
  /** What was asserted. */
  readonly asserted: string
  /** What was counted or measured. */
  readonly result: string
}

/** Notes a finding for the table. */
export const report = (finding: Finding): void => {
  const file = process.env["NEXUS_FAULTS_REPORT"]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(finding)}\n`)
}
