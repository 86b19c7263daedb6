import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { Health } from "../domain/Health.js"
import { version } from "../domain/Version.js"
import { CreateVm, UpdateVm, Vm } from "../domain/Vm.js"
import { VmQuery } from "../domain/VmQuery.js"
import { LogsQuery, StopVm, WaitQuery } from "../domain/VmRequests.js"
import { ApiErrors } from "./ApiErrors.js"
import { optionalBody, toDocument, withHeader, withOptionalBody } from "./OpenApiDocument.js"

/**
 * A name or an id in the path. The client must percent-encode it, which `HttpApiClient` leaves undone; the server's
 * router has decoded it already.
 */
const NameOrId = Schema.transform(Schema.String, Schema.String, {
  strict: true,
  decode: (decoded) => decoded,
  // A URL swallows "." and "..", encoded or not (WHATWG URL, 4.4). With a NUL, which no name holds, they are merely
  // not found.
  encode: (nameOrId) => encodeURIComponent(nameOrId) + (/^\.\.?$/.test(nameOrId) ? "%00" : "")
}).annotations({ description: "The VM's name or id" })

const vmPath = "/v1/vms/:nameOrId"
const target = Schema.Struct({ nameOrId: NameOrId })

const ConsoleLog = HttpApiSchema.Text({ contentType: "text/plain; charset=utf-8" }).annotations({
  description: "What the guest wrote to its serial console, byte for byte"
})

class Vms extends HttpApiGroup.make("vms")
  .add(
    HttpApiEndpoint.post("create", "/v1/vms")
      .setPayload(CreateVm)
      // `addSuccess(Vm, { status })` drops the identifier, and with it the `$ref`.
      .addSuccess(Vm.annotations({ ...HttpApiSchema.annotations({ status: 201 }), identifier: "Vm" }))
      .addError(ApiErrors.Conflict)
      .annotate(OpenApi.Summary, "Create a VM record")
      .annotate(OpenApi.Description, "Gives the VM an id and a vsock CID. Its state is `created`; nothing is started.")
      .annotate(OpenApi.Transform, withHeader(201, "Location", "The record's path"))
  )
  .add(
    HttpApiEndpoint.get("list", "/v1/vms")
      .setUrlParams(VmQuery)
      .addSuccess(Schema.Array(Vm).annotations({ description: "The records, newest first" }))
      .annotate(OpenApi.Summary, "List VM records")
      .annotate(OpenApi.Description, "Newest first, all of them or those of one role, one state, or both.")
      .annotate(
        OpenApi.Transform,
        withHeader(200, "Link", 'The next page, where a limit left records out: `<…>; rel="next"` (RFC 8288)')
      )
  )
  .add(
    HttpApiEndpoint.get("get", vmPath)
      .setPath(target)
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .annotate(OpenApi.Summary, "Show one VM record")
      .annotate(OpenApi.Description, "An id is looked for first, then a name.")
  )
  .add(
    HttpApiEndpoint.patch("update", vmPath)
      .setPath(target)
      .setPayload(UpdateVm)
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .annotate(OpenApi.Summary, "Change a VM record")
      .annotate(
        OpenApi.Description,
        "What is left out stays. While the VM runs only its role can change. What changes nothing leaves `updated_at`."
      )
  )
  .add(
    HttpApiEndpoint.del("delete", vmPath)
      .setPath(target)
      .addSuccess(HttpApiSchema.NoContent.annotations({ description: "The record is gone" }))
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .annotate(OpenApi.Summary, "Delete a VM record")
      .annotate(OpenApi.Description, "Removes the one record that GET shows, with its log, unless its VM is running.")
  )
  .add(
    HttpApiEndpoint.post("start", `${vmPath}/start`)
      .setPath(target)
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .addError(ApiErrors.StartFailed)
      .addError(ApiErrors.VmmUnavailable)
      .annotate(OpenApi.Summary, "Start a VM")
      .annotate(
        OpenApi.Description,
        "Answers once the guest runs. A start that has begun runs to its end, also when the client disconnects."
      )
  )
  .add(
    HttpApiEndpoint.post("stop", `${vmPath}/stop`)
      .setPath(target)
      .setPayload(optionalBody(StopVm))
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .annotate(OpenApi.Summary, "Stop a VM")
      .annotate(
        OpenApi.Description,
        "Asks the guest, kills the VMM after the timeout, and answers once the VM has stopped. A stop that has begun runs to its end, also when the client disconnects."
      )
      .annotate(OpenApi.Transform, withOptionalBody)
  )
  .add(
    HttpApiEndpoint.get("logs", `${vmPath}/logs`)
      .setPath(target)
      .setUrlParams(LogsQuery)
      .addSuccess(ConsoleLog)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .annotate(OpenApi.Summary, "Read a VM's console log")
      .annotate(OpenApi.Description, "Empty if the VM never ran. With `follow` the answer goes on until the VM stops.")
  )
  .add(
    HttpApiEndpoint.get("wait", `${vmPath}/wait`)
      .setPath(target)
      .setUrlParams(WaitQuery)
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.WaitTimeout)
      .annotate(OpenApi.Summary, "Wait until a VM is in a state")
      .annotate(OpenApi.Description, "Answers at once if it is in one of the states already.")
  )
  .addError(ApiErrors.StoreUnavailable)
  .annotate(OpenApi.Description, "Records of Firecracker microVMs") {}

class HealthGroup extends HttpApiGroup.make("health")
  .add(
    HttpApiEndpoint.get("check", "/v1/health")
      .addSuccess(Health)
      .addError(ApiErrors.Degraded)
      .annotate(OpenApi.Summary, "Ask whether the daemon and its database are well")
  )
  .annotate(OpenApi.Description, "The daemon's own health") {}

/** The REST API: the server, the client and the OpenAPI document are all derived from this. */
export class Api extends HttpApi.make("nexus")
  .add(Vms)
  .add(HealthGroup)
  .addError(ApiErrors.BadRequest)
  .addError(ApiErrors.Unauthorized)
  .addError(ApiErrors.Forbidden)
  .addError(ApiErrors.PayloadTooLarge)
  .addError(ApiErrors.UnsupportedMediaType)
  .addError(ApiErrors.InternalError)
  .addError(ApiErrors.Overloaded)
  .annotate(OpenApi.Title, "Nexus")
  .annotate(OpenApi.Version, version)
  .annotate(OpenApi.Description, "Control plane for Firecracker microVMs")
  .annotate(OpenApi.Transform, toDocument) {}
