import * as Layer from "effect/Layer"
import { Api } from "./Api.js"
import { docs } from "./handlers/Docs.js"
import * as Events from "./handlers/Events.js"
import * as Health from "./handlers/Health.js"
import * as Metrics from "./handlers/Metrics.js"
import * as Vms from "./handlers/Vms.js"
import { webPage } from "./handlers/WebPage.js"
import * as HttpApiServer from "./server/HttpApiServer.js"

/** The whole API, over any store. */
export const layer = (options: Omit<HttpApiServer.Options, "routes">) =>
  HttpApiServer.layer(Api, { ...options, routes: [...webPage, ...docs] }).pipe(
    Layer.provide([Vms.layer, Events.layer, Health.layer, Metrics.layer])
  )
