import type * as Http from "node:http"
import { clientAbortFiberId } from "@effect/platform/HttpServerError"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as HashMap from "effect/HashMap"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import { BadRequest, InternalError, Overloaded } from "../HttpErrors.js"
import { type ErrorEncoder, encodeHttpError } from "./ErrorEncoder.js"
import { checkBodyHeaders, hasBody, readJson } from "./RequestBody.js"
import { withRequestSpan } from "./RequestSpan.js"
import { send, sendError } from "./ResponseWriter.js"
import { makeRouter, type Route, type RouteMatch } from "./Router.js"

/**
 * Responds to a request, and returns its route if there is one. `id` is the request's, for the response and the log.
 * `becomeLongLived` releases the request's permit and takes one of the long-lived ones; it returns the error if there is
 * none.
 */
export type RequestListener = (
  request: Http.IncomingMessage,
  response: Http.ServerResponse,
  id: string,
  becomeLongLived: () => Overloaded | undefined
) => Route | undefined

export interface RequestHandler {
  readonly listener: RequestListener
  /** Ends long-lived requests, those that arrive later too. */
  readonly endLongLived: Effect.Effect<void>
  /** Waits for handlers that are uninterruptible. */
  readonly awaitUninterruptible: Effect.Effect<void>
}

const internalError = (id: string) =>
  encodeHttpError(
    new InternalError({ message: "internal error; nexusd's log has more, under this request's id", request_id: id })
  )

/** Sends the failure of a handler or of its response. */
const respondFailure = (
  response: Http.ServerResponse,
  id: string,
  cause: Cause.Cause<unknown>,
  encodeError: ErrorEncoder
): Effect.Effect<void> => {
  if (Cause.isInterruptedOnly(cause)) return Effect.interrupt
  const encoded = encodeError(Cause.squash(cause))
  const logged = encoded === undefined ? Effect.logError("unexpected failure", cause) : Effect.void
  if (!response.headersSent) {
    return Effect.zipRight(
      logged,
      Effect.sync(() => sendError(response, id, encoded ?? internalError(id)))
    )
  }
  // The head is sent: only the closed connection can say that the body is not whole.
  response.destroy()
  return Effect.zipRight(logged, Effect.logWarning("a response was cut off", cause))
}

/** A handler of requests that finds the route, reads the body and runs the route's handler as one fiber. */
export const make = (
  routes: ReadonlyArray<Route>,
  encodeError: ErrorEncoder,
  options: { readonly isTraced: boolean }
): Effect.Effect<RequestHandler> =>
  Effect.gen(function* () {
    // Nothing reads Effect's metrics of fibers, which cost a GET 4% of its CPU.
    const runtime = Runtime.disableRuntimeFlag(yield* Effect.runtime(), RuntimeFlags.RuntimeMetrics)
    const stopping = yield* Deferred.make<void>()
    const stopped = Deferred.await(stopping)
    const stoppingError = new Overloaded({ message: "nexusd is stopping; try again later" })
    const uninterruptible = new Set<Fiber.RuntimeFiber<void>>()
    const findRoute = makeRouter(routes)

    /** The log annotation is one of the fiber's initial references: `Effect.annotateLogs` costs a GET some 3 us. */
    const fork = (effect: Effect.Effect<void>, id: string) =>
      Runtime.runFork(runtime, effect, {
        updateRefs: (refs, fiberId) =>
          FiberRefs.updateAs(refs, {
            fiberId,
            fiberRef: FiberRef.currentLogAnnotations,
            value: HashMap.make(["request_id", id] as const)
          })
      })

    const run = (
      request: Http.IncomingMessage,
      response: Http.ServerResponse,
      id: string,
      route: Route | undefined,
      effect: Effect.Effect<void, unknown>
    ) => {
      const responding = Effect.catchAllCause(effect, (cause) => respondFailure(response, id, cause, encodeError))
      const fiber = fork(options.isTraced ? withRequestSpan(request, response, route, responding) : responding, id)
      // Most fibers are done already: an observer and a listener for each would cost more than the check.
      if (fiber.unsafePoll() !== null) return
      if (route?.isUninterruptible) {
        uninterruptible.add(fiber)
        fiber.addObserver(() => uninterruptible.delete(fiber))
      } else {
        response.once("close", () => fiber.unsafeInterruptAsFork(clientAbortFiberId))
      }
    }

    const handle = (
      request: Http.IncomingMessage,
      response: Http.ServerResponse,
      id: string,
      becomeLongLived: () => Overloaded | undefined,
      { path, route, urlParams }: RouteMatch,
      payload: unknown
    ) => {
      const handled = route.handle({ path, urlParams, headers: request.headers, payload })
      if (handled instanceof BadRequest) return run(request, response, id, route, handled)
      const { longLived } = route
      const apart = Effect.suspend(
        () =>
          becomeLongLived() ??
          (longLived === "until-stop" ? Effect.raceFirst(handled, Effect.zipRight(stopped, stoppingError)) : handled)
      )
      const responding = Effect.flatMap(longLived === undefined ? handled : apart, (success) => {
        const sending = send(response, id, route.defaultStatus, success, stopped)
        return success.isEndless && longLived === undefined ? (becomeLongLived() ?? sending) : sending
      })
      run(request, response, id, route, responding)
    }

    const listener: RequestListener = (request, response, id, becomeLongLived) => {
      const match = checkBodyHeaders(request) ?? findRoute(request.method ?? "", request.url ?? "")
      if (!("route" in match)) {
        run(request, response, id, undefined, match)
        return undefined
      }
      const { route } = match
      if (route.payload === "none" || (route.payload === "optional" && !hasBody(request))) {
        // Behind an unread body Node.js does not notice that the client disconnects.
        if (hasBody(request)) request.resume()
        handle(request, response, id, becomeLongLived, match, undefined)
        return route
      }
      readJson(request, (body) =>
        "json" in body
          ? handle(request, response, id, becomeLongLived, match, body.json)
          : run(request, response, id, route, body)
      )
      return route
    }

    return {
      listener,
      endLongLived: Effect.asVoid(Deferred.succeed(stopping, undefined)),
      awaitUninterruptible: Effect.suspend(() => Fiber.awaitAll(uninterruptible))
    }
  })
