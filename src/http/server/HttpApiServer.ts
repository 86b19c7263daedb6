import * as HttpApi from "@effect/platform/HttpApi"
import type * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as SchemaAST from "effect/SchemaAST"
import type { Address } from "../../domain/Address.js"
import { type EndpointHandler, type ReflectedEndpoint, toRoute } from "./Endpoint.js"
import { makeErrorEncoder } from "./ErrorEncoder.js"
import type { HttpResponse } from "./HttpResponse.js"
import { type ListenError, type ListenerOptions, listen } from "./Listener.js"
import * as RequestHandler from "./RequestHandler.js"
import type { LongLived, Route } from "./Router.js"

type AnyEndpoint = HttpApiEndpoint.HttpApiEndpoint.Any

/** Takes the decoded parts of a request; returns the success, or an `HttpResponse` that says more than that. */
type Handler<Endpoint extends AnyEndpoint, E> = (
  request: Omit<HttpApiEndpoint.HttpApiEndpoint.Request<Endpoint>, "request">
) => Effect.Effect<
  | HttpApiEndpoint.HttpApiEndpoint.Success<Endpoint>
  | HttpResponse<
      HttpApiEndpoint.HttpApiEndpoint.Success<Endpoint>,
      E | HttpApiEndpoint.HttpApiEndpoint.Error<Endpoint>
    >,
  E | HttpApiEndpoint.HttpApiEndpoint.Error<Endpoint>
>

/** The handlers of a group, of which those of `Unhandled` are missing. */
export class Handlers<Unhandled extends AnyEndpoint, E> {
  declare private readonly unhandled: Unhandled | undefined

  constructor(readonly byName: ReadonlyMap<string, EndpointHandler>) {}

  /**
   * Adds the handler of an endpoint. It is interrupted when its client disconnects, unless it is `uninterruptible`: then
   * it runs to its end. A `longLived` one takes no other request's permit. A `public` one needs no token.
   */
  handle<const Name extends HttpApiEndpoint.HttpApiEndpoint.Name<Unhandled>>(
    name: Name,
    handle: Handler<HttpApiEndpoint.HttpApiEndpoint.WithName<Unhandled, Name>, E>,
    options?: { readonly uninterruptible?: boolean; readonly longLived?: LongLived; readonly public?: boolean }
  ): Handlers<HttpApiEndpoint.HttpApiEndpoint.ExcludeName<Unhandled, Name>, E> {
    const handler = {
      handle,
      isUninterruptible: options?.uninterruptible ?? false,
      longLived: options?.longLived,
      isPublic: options?.public ?? false
    }
    return new Handlers(new Map([...this.byName, [name, handler]]))
  }
}

/** The service that `HttpApiBuilder.group` would provide: the handlers of one group. */
const groupTag = <Id extends string, Name extends string>(id: Id, name: Name) =>
  Context.GenericTag<HttpApiGroup.ApiGroup<Id, Name>, ReadonlyMap<string, EndpointHandler>>(
    `nexus/HttpApiServer/${id}/${name}`
  )

/**
 * The handlers of one group of a definition, written as with `HttpApiBuilder.group`. `build` runs once, when the server
 * is built: services are yielded there.
 */
export const group = <
  Id extends string,
  Groups extends HttpApiGroup.HttpApiGroup.Any,
  E,
  R,
  const Name extends HttpApiGroup.HttpApiGroup.Name<Groups>,
  EX,
  RX
>(
  api: HttpApi.HttpApi<Id, Groups, E, R>,
  name: Name,
  build: (
    handlers: Handlers<
      HttpApiGroup.HttpApiGroup.EndpointsWithName<Groups, Name>,
      E | HttpApiGroup.HttpApiGroup.ErrorWithName<Groups, Name>
    >
  ) => Effect.Effect<Handlers<never, E | HttpApiGroup.HttpApiGroup.ErrorWithName<Groups, Name>>, EX, RX>
): Layer.Layer<HttpApiGroup.ApiGroup<Id, Name>, EX, RX> =>
  Layer.effect(
    groupTag(api.identifier, name),
    Effect.map(
      Effect.suspend(() => build(new Handlers(new Map()))),
      ({ byName }) => byName
    )
  )

/** The address that a server listens on; it differs from the one that was asked for when that had port 0. */
export class HttpApiServer extends Context.Tag("nexus/HttpApiServer")<HttpApiServer, { readonly address: Address }>() {}

export interface Options extends Partial<Omit<ListenerOptions, "publicPaths">> {
  readonly address: Address
  /** Routes that are not in the definition, such as pages for browsers. */
  readonly routes?: ReadonlyArray<Route>
  /** Whether each request gets a span. */
  readonly isTraced?: boolean
}

/** A server of a definition, over node:http. It listens once all of its handlers are built, until its scope closes. */
export const layer = <Id extends string, Groups extends HttpApiGroup.HttpApiGroup.Any, E, R>(
  api: HttpApi.HttpApi<Id, Groups, E, R>,
  { address, isTraced = false, routes = [], ...options }: Options
): Layer.Layer<HttpApiServer, ListenError, HttpApiGroup.HttpApiGroup.ToService<Id, Groups>> =>
  Layer.scoped(
    HttpApiServer,
    Effect.gen(function* () {
      const context = yield* Effect.context<HttpApiGroup.HttpApiGroup.ToService<Id, Groups>>()
      const endpoints: Array<Route> = []
      // Endpoints share errors.
      const errorStatuses = new Map<SchemaAST.AST, number>()
      const onEndpoint = (reflected: ReflectedEndpoint) => {
        const { endpoint, group } = reflected
        const handler = Context.unsafeGet(context, groupTag(api.identifier, group.identifier)).get(endpoint.name)
        if (handler === undefined) throw new Error(`endpoint ${endpoint.name} has no handler`)
        endpoints.push(toRoute(reflected, handler))
        for (const [status, { ast }] of reflected.errors) {
          if (Option.isSome(ast)) errorStatuses.set(ast.value, status)
        }
      }
      HttpApi.reflect(api, { onGroup: () => {}, onEndpoint })
      const all = [...endpoints, ...routes]
      const publicPaths = new Set(all.filter(({ isPublic }) => isPublic).map(({ path }) => path))
      const handler = yield* RequestHandler.make(all, makeErrorEncoder(errorStatuses), { isTraced })
      return { address: yield* listen(handler, address, { ...options, publicPaths }) }
    })
  )
