import * as OtlpLogger from "@effect/opentelemetry/OtlpLogger"
import * as OtlpSerialization from "@effect/opentelemetry/OtlpSerialization"
import * as OtlpTracer from "@effect/opentelemetry/OtlpTracer"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Layer from "effect/Layer"
import { version } from "../domain/Version.js"
import type { OtlpEndpoints } from "./OtlpEndpoints.js"

const optionsOf = (url: string) =>
  ({ url, resource: { serviceName: "nexusd", serviceVersion: version }, exportInterval: "1 second" }) as const

/**
 * Exports spans and log entries as OTLP/HTTP with JSON, where there is an endpoint for them. When the program stops, what is
 * left is sent within 3 s. An entry has the ids of the trace and span in which it was logged.
 */
export const layer = ({ logs, traces }: OtlpEndpoints): Layer.Layer<never> =>
  Layer.merge(
    traces === undefined ? Layer.empty : OtlpTracer.layer(optionsOf(traces)),
    logs === undefined ? Layer.empty : OtlpLogger.layer(optionsOf(logs))
  ).pipe(Layer.provide([OtlpSerialization.layerJson, NodeHttpClient.layer]))
