import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Function from "effect/Function"
import * as Schema from "effect/Schema"
import { Health, Probe } from "../domain/Health.js"
import { version } from "../domain/Version.js"
import { CreateVm, ReplaceVm, UpdateVm, Vm, VmName } from "../domain/Vm.js"
import { EventsQuery } from "../domain/VmEvent.js"
import { VmQuery } from "../domain/VmQuery.js"
import { LogsQuery, StopVm, WaitQuery } from "../domain/VmRequests.js"
import { ApiErrors } from "./ApiErrors.js"
import { Preconditions } from "./EntityTag.js"
import { optionalBody, toDocument, withHeader, withOptionalBody, withoutToken } from "./OpenApiDocument.js"

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

/** https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format */
export const prometheusContentType = "text/plain; version=0.0.4; charset=utf-8"

const vmPath = "/v1/vms/:nameOrId"
const target = Schema.Struct({ nameOrId: NameOrId })

const withLocation = withHeader(201, "Location", "The record's path")
const withETag = (status: number) =>
  withHeader(status, "ETag", "The record's entity tag, for If-Match and If-None-Match (RFC 9110, 8.8.3)")

// `addSuccess(Vm, { status })` drops the identifier, and with it the `$ref`.
const CreatedVm = Vm.annotations({ ...HttpApiSchema.annotations({ status: 201 }), identifier: "Vm" })

const ConsoleLog = HttpApiSchema.Text({ contentType: "text/plain; charset=utf-8" }).annotations({
  description: "What the guest wrote to its serial console, byte for byte"
})

const PrometheusText = HttpApiSchema.Text({ contentType: prometheusContentType }).annotations({
  description: "Metrics of nexusd, its VMs and its process"
})

class Vms extends HttpApiGroup.make("vms")
  .add(
    HttpApiEndpoint.post("create", "/v1/vms")
      .setPayload(CreateVm)
      .addSuccess(CreatedVm)
      .addError(ApiErrors.Conflict)
      .annotate(OpenApi.Summary, "Create a VM record")
      .annotate(OpenApi.Description, "Gives the VM an id and a vsock CID. Its state is `created`; nothing is started.")
      .annotate(OpenApi.Transform, Function.flow(withLocation, withETag(201)))
  )
  .add(
    HttpApiEndpoint.get("list", "/v1/vms")
      .setUrlParams(VmQuery)
      .addSuccess(Schema.Array(Vm).annotations({ description: "The records, newest first" }))
      .annotate(OpenApi.Summary, "List VM records")
      .annotate(
        OpenApi.Description,
        "Newest first, all of them, or those of a role, of a state, and with names that begin with `name_prefix`."
      )
      .annotate(
        OpenApi.Transform,
        withHeader(200, "Link", 'The next page, where a limit left records out: `<…>; rel="next"` (RFC 8288)')
      )
  )
  .add(
    HttpApiEndpoint.get("get", vmPath)
      .setPath(target)
      .setHeaders(Preconditions)
      .addSuccess(Vm)
      .addError(ApiErrors.NotModified)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.PreconditionFailed)
      .annotate(OpenApi.Summary, "Show one VM record")
      .annotate(OpenApi.Description, "An id is looked for first, then a name.")
      .annotate(OpenApi.Transform, Function.flow(withETag(200), withETag(304)))
  )
  .add(
    HttpApiEndpoint.patch("update", vmPath)
      .setPath(target)
      .setHeaders(Preconditions)
      .setPayload(UpdateVm)
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .addError(ApiErrors.PreconditionFailed)
      .annotate(OpenApi.Transform, withETag(200))
      .annotate(OpenApi.Summary, "Change a VM record")
      .annotate(
        OpenApi.Description,
        "What is left out stays. While the VM runs only its role can change. What changes nothing leaves `updated_at`."
      )
  )
  .add(
    HttpApiEndpoint.put("replace", vmPath)
      .setPath(Schema.Struct({ nameOrId: VmName }))
      .setHeaders(Preconditions)
      .setPayload(ReplaceVm)
      .addSuccess(Vm)
      .addSuccess(CreatedVm)
      .addError(ApiErrors.Conflict)
      .addError(ApiErrors.PreconditionFailed)
      .annotate(OpenApi.Summary, "Create a VM record, or replace it")
      .annotate(
        OpenApi.Description,
        "What is left out takes its default. The same request again changes nothing, so that one without an answer can be repeated. While the VM runs only its role can change. `If-None-Match: *` creates only, `If-Match: *` replaces only."
      )
      .annotate(OpenApi.Transform, Function.flow(withLocation, withETag(200), withETag(201)))
  )
  .add(
    HttpApiEndpoint.del("delete", vmPath)
      .setPath(target)
      .setHeaders(Preconditions)
      .addSuccess(HttpApiSchema.NoContent.annotations({ description: "The record is gone" }))
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .addError(ApiErrors.PreconditionFailed)
      .annotate(OpenApi.Summary, "Delete a VM record")
      .annotate(OpenApi.Description, "Removes the one record that GET shows, with its log, unless its VM is running.")
  )
  .add(
    HttpApiEndpoint.post("start", `${vmPath}/start`)
      .setPath(target)
      .setHeaders(Preconditions)
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .addError(ApiErrors.PreconditionFailed)
      .annotate(OpenApi.Transform, withETag(200))
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
      .setHeaders(Preconditions)
      .setPayload(optionalBody(StopVm))
      .addSuccess(Vm)
      .addError(ApiErrors.NotFound)
      .addError(ApiErrors.Conflict)
      .addError(ApiErrors.PreconditionFailed)
      .annotate(OpenApi.Summary, "Stop a VM")
      .annotate(
        OpenApi.Description,
        "Asks the guest, kills the VMM after the timeout, and answers once the VM has stopped. A stop that has begun runs to its end, also when the client disconnects."
      )
      .annotate(OpenApi.Transform, Function.flow(withOptionalBody, withETag(200)))
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
      .annotate(OpenApi.Transform, withETag(200))
  )
  .addError(ApiErrors.StoreUnavailable)
  .annotate(OpenApi.Description, "Records of Firecracker microVMs") {}

const EventStream = HttpApiSchema.Text({ contentType: "text/event-stream" }).annotations({
  description: "Server-sent events: `event`, `id`, and `data` as JSON; a comment every 15 s"
})

const LastEventId = Schema.Struct({
  "last-event-id": Schema.optionalWith(
    Schema.String.annotations({ description: "As `since`, and before it: browsers send it when they reconnect" }),
    { exact: true }
  )
})

class Events extends HttpApiGroup.make("events")
  .add(
    HttpApiEndpoint.get("follow", "/v1/events")
      .setUrlParams(EventsQuery)
      .setHeaders(LastEventId)
      .addSuccess(EventStream)
      .addError(ApiErrors.Gone)
      .annotate(OpenApi.Summary, "Follow changes of VM records")
      .annotate(
        OpenApi.Description,
        "The first event is `ready`; then come `created` and `updated` with the record, `deleted` with its `id` and `name`, in the order of the changes, until the client or the daemon ends. `reset` asks to list the records again."
      )
  )
  .addError(ApiErrors.StoreUnavailable)
  .annotate(OpenApi.Description, "Changes of records as they happen") {}

class HealthGroup extends HttpApiGroup.make("health")
  .add(
    HttpApiEndpoint.get("check", "/v1/health")
      .addSuccess(Health)
      .addError(ApiErrors.Degraded)
      .annotate(OpenApi.Summary, "Ask whether the daemon and its database are well")
  )
  .add(
    HttpApiEndpoint.get("live", "/livez")
      .addSuccess(Probe)
      .annotate(OpenApi.Summary, "Ask whether the daemon's process answers")
      .annotate(OpenApi.Description, "Looks at nothing else. Needs no token.")
      .annotate(OpenApi.Transform, withoutToken)
  )
  .add(
    HttpApiEndpoint.get("ready", "/readyz")
      .addSuccess(Probe)
      .addError(ApiErrors.NotReady)
      .annotate(OpenApi.Summary, "Ask whether the daemon's store can serve")
      .annotate(
        OpenApi.Description,
        "The check of `/v1/health`, made once a second at most. Says nothing about the database. Needs no token."
      )
      .annotate(OpenApi.Transform, withoutToken)
  )
  .annotate(OpenApi.Description, "The daemon's own health") {}

class MetricsGroup extends HttpApiGroup.make("metrics")
  .add(
    HttpApiEndpoint.get("scrape", "/metrics")
      .addSuccess(PrometheusText)
      .annotate(OpenApi.Summary, "Read the daemon's metrics")
      .annotate(OpenApi.Description, "In Prometheus' text format; docs/monitoring.md lists them.")
  )
  .annotate(OpenApi.Description, "The daemon's own figures") {}

/** The REST API: the server, the client and the OpenAPI document are all derived from this. */
export class Api extends HttpApi.make("nexus")
  .add(Vms)
  .add(Events)
  .add(HealthGroup)
  .add(MetricsGroup)
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
