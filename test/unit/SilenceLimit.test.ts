import * as Net from "node:net"
import * as Effect from "effect/Effect"
import { afterEach, describe, expect, it, vi } from "vitest"
import { type CallOptions, DaemonClient, layer } from "../../src/cli/nexusctl/daemon/DaemonClient.js"
import { listen } from "../support/LocalServer.js"

afterEach(() => void vi.restoreAllMocks())

/** Lets the time pass at once that a socket is given, and keeps it. */
const mockSocketTimeouts = () => {
  const limits: Array<number> = []
  vi.spyOn(Net.Socket.prototype, "setTimeout").mockImplementation(function (this: Net.Socket, millis, onTimeout) {
    limits.push(millis)
    if (onTimeout !== undefined && millis > 0) setImmediate(onTimeout)
    return this
  })
  return limits
}

describe("a daemon that sends no byte", () => {
  for (const { millis, name, options = {}, timeout } of [
    { name: "5 s by default", timeout: undefined, millis: 5000 },
    { name: "--timeout", timeout: 7, millis: 7000 },
    { name: "the command's default", timeout: undefined, options: { defaultSilenceSeconds: 60 }, millis: 60_000 },
    {
      name: "--timeout before the command's default",
      timeout: 1,
      options: { defaultSilenceSeconds: 60 },
      millis: 1000
    },
    { name: "the command's own limit before all others", timeout: 1, options: { silenceSeconds: 9 }, millis: 9000 }
  ] satisfies ReadonlyArray<{ name: string; timeout: number | undefined; options?: CallOptions; millis: number }>) {
    it(`counts as unreachable after ${name}`, async ({ onTestFinished }) => {
      const { port } = await listen(Net.createServer(), onTestFinished)
      const limits = mockSocketTimeouts()
      const flags = {
        config: undefined,
        context: undefined,
        daemon: { host: "127.0.0.1", port },
        tokenFile: undefined,
        isVerbose: false,
        timeout
      }
      const list = Effect.flatMap(DaemonClient, ({ call }) =>
        call({ action: "cannot list VMs" }, (client) => client.vms.list({ urlParams: {} }), options)
      )
      const { exitCode, lines } = await Effect.runPromise(Effect.flip(list).pipe(Effect.provide(layer(flags))))
      expect(exitCode).toBe(3)
      expect(lines[1]).toBe(`  No byte came for ${millis / 1000} s; --timeout S waits longer.`)
      expect(limits).toEqual([millis])
    })
  }
})
