import * as HttpApiSwagger from "@effect/platform/HttpApiSwagger"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Layer from "effect/Layer"
import { Api } from "../Api.js"

/** The OpenAPI document, as JSON. */
export const openApi = (): string => JSON.stringify(OpenApi.fromApi(Api))

/** Swagger UI over the API's OpenAPI document, as one page of HTML; its script is inside it. */
export const makePage = async (): Promise<string> => {
  const { dispose, handler } = HttpLayerRouter.toWebHandler(
    HttpApiSwagger.layerHttpLayerRouter({ api: Api, path: "/" }).pipe(Layer.provide(HttpServer.layerContext)),
    { disableLogger: true }
  )
  const response = await handler(new Request("http://localhost/"))
  return response.text().finally(dispose)
}
