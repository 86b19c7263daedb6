import { describe, expect, it } from "vitest"
import { interfaceNames } from "../../src/services/lifecycle/HostTaps.js"

describe("interfaces of the host", () => {
  it("are named in /proc/net/dev, before the first colon, whatever their counters", () => {
    const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 78771367612 51331399    0    0    0     0          0         0 78771367612 51331399    0    0    0     0       0          0
a-long-tap-name:12345678901234       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
`
    expect([...interfaceNames(text)].filter((name) => name !== "")).toEqual(["lo", "a-long-tap-name"])
  })
})
