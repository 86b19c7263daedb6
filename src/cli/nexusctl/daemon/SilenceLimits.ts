import { maxStopSeconds } from "../../../domain/VmRequests.js"

/** Starts wait for each other, and a guest under emulation takes its time. */
export const startSilenceSeconds = 60

/** Beyond its timeout the daemon has this long to answer. */
export const graceSeconds = 5

/** How long a stop may take. Without a timeout of its own, the daemon's setting may be the longest one. */
export const stopSilence = (timeoutSeconds: number | undefined) =>
  timeoutSeconds === undefined
    ? { defaultSilenceSeconds: maxStopSeconds + graceSeconds }
    : { silenceSeconds: timeoutSeconds + graceSeconds }
