import * as Http from "node:http"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { DaemonClient, layer } from "../../src/cli/nexusctl/daemon/DaemonClient.js"
import type { Address } from "../../src/domain/Address.js"
import { record } from "../support/Records.js"

/** Serves one body, in pieces, for as long as the scope lasts. */
const serve = (body: string) =>
  Effect.acquireRelease(
    Effect.async<readonly [Http.Server, Address]>((resume) => {
      const server = Http.createServer((_, response) => {
        response.writeHead(200, { "content-type": "application/json" })
        for (let start = 0; start < body.length; start += 100) response.write(body.slice(start, start + 100))
        response.end()
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" ? (address?.port ?? 0) : 0
        resume(Effect.succeed([server, { host: "127.0.0.1", port }]))
      })
    }),
    ([server]) => Effect.sync(() => void server.close())
  ).pipe(Effect.map(([, address]) => address))

const list = (daemon: Address, maxAnswerBytes: number) =>
  Effect.flatMap(DaemonClient, ({ call }) =>
    call({ action: "cannot list VMs" }, (client) => client.vms.list({ urlParams: {} }))
  ).pipe(
    Effect.provide(
      layer({
        config: undefined,
        context: undefined,
        daemon,
        tokenFile: undefined,
        isVerbose: false,
        timeout: 60,
        maxAnswerBytes
      })
    )
  )

describe("the body of an answer", () => {
  const vms = [record("web"), record("db")]
  const body = JSON.stringify(vms)

  it.scopedLive("is read whole up to the maximum size", () =>
    Effect.gen(function* () {
      expect(yield* list(yield* serve(body), body.length)).toEqual(vms)
    })
  )

  it.scopedLive("fails above the maximum size, with the size and the option that helps", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(list(yield* serve(body), body.length - 1))
      expect(error).toMatchObject({
        lines: [
          "Error: cannot list VMs",
          `  the daemon's answer is larger than ${(body.length - 1) / 1_000_000} MB, the most that nexusctl reads: use vm list --limit N`
        ],
        exitCode: 1
      })
    })
  )
})
