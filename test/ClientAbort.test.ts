import * as HttpServerError from "@effect/platform/HttpServerError"
import { expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HashSet from "effect/HashSet"
import { serve } from "../src/http/Listener.js"
import { requestBytes, sendAndHangUp } from "./support/TestServer.js"

it.live("a request whose client disconnects is interrupted by the library's client-abort fiber id", () =>
  Effect.gen(function* () {
    const ended = yield* Deferred.make<Exit.Exit<unknown>>()
    const app = () => Effect.onExit(Effect.never, (exit) => Deferred.succeed(ended, exit))
    const address = yield* serve(app, { host: "127.0.0.1", port: 0 })
    if (!("port" in address)) return yield* Effect.dieMessage("expected a TCP address")
    yield* sendAndHangUp(address, requestBytes(address, { path: "/v1/vms" }))
    const exit = yield* Deferred.await(ended)
    const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
    expect(Array.from(HashSet.values(Cause.interruptors(cause)))).toContainEqual(HttpServerError.clientAbortFiberId)
  }).pipe(Effect.scoped)
)
