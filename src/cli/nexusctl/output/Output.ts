import * as Options from "@effect/cli/Options"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { literals } from "../../../domain/Schemas.js"
import type { Vm } from "../../../domain/Vm.js"
import { type LineStyle, printJson, printLines } from "../../../runtime/StandardStreams.js"
import { schemaOption } from "../../runner/SchemaOption.js"

const Output = literals(["text", "json"], "text, or json: what the API sent, on one line")
type Output = typeof Output.Type
export const outputOption = schemaOption("output", "text | json", Output, "text").pipe(Options.withAlias("o"))

/** Prints a result as JSON or as lines of text. */
export const print = <A>(output: Output, value: A, toLines: (value: A) => ReadonlyArray<string>, style?: LineStyle) =>
  output === "json" ? printJson(value) : printLines(toLines(value), style)

/** `2026-02-18 14:30:06 UTC`. */
const formatTime = (seconds: number): string => {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? String(seconds) : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`
}

/** `3d 4h`, `4h 5m`, `5m 6s`, `6s`. */
const formatUptime = (seconds: number): string => {
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"]
  ] as const
  const first = parts.findIndex(([count]) => count > 0)
  return parts
    .slice(first === -1 ? 3 : first)
    .slice(0, 2)
    .map(([count, unit]) => `${count}${unit}`)
    .join(" ")
}

/** As far as a record's configuration is read here: other daemons' records may hold anything. */
const ShownConfig = Schema.parseJson(
  Schema.Struct({
    drives: Schema.Array(
      Schema.Struct({
        path_on_host: Schema.String,
        is_root_device: Schema.optional(Schema.Boolean),
        is_read_only: Schema.optional(Schema.Boolean)
      })
    )
  })
)

/** `/srv/web.ext4 (root, read-only)` for each drive. */
const driveLines = (config: string): ReadonlyArray<string> => {
  const { drives } = Option.getOrElse(Schema.decodeOption(ShownConfig)(config), () => ({ drives: [] }))
  return drives.map(({ is_read_only, is_root_device, path_on_host }) => {
    const notes = [is_root_device ? "root" : "", is_read_only ? "read-only" : ""].filter((note) => note !== "")
    return notes.length === 0 ? path_on_host : `${path_on_host} (${notes.join(", ")})`
  })
}

/** Where the host reaches the guest's vsock: Firecracker's socket, or by its CID under QEMU. */
const vsock = ({ cid, uds_path, vmm }: Vm) => uds_path ?? (vmm === "qemu" ? `CID ${cid}` : undefined)

/** The fields of a record, one on each line, with values at column 13. `now` is in seconds since the epoch. */
export const vmDetails = (vm: Vm, now: number): ReadonlyArray<string> => {
  const { started_at, state } = vm
  const drives = vm.config_json === undefined ? [] : driveLines(vm.config_json)
  const fields: ReadonlyArray<readonly [string, string | undefined]> = [
    ["Name", vm.name],
    ["ID", vm.id],
    ["Role", vm.role],
    ["State", vm.state],
    ["CID", String(vm.cid)],
    ["vCPUs", String(vm.vcpu_count)],
    ["Memory", `${vm.mem_size_mib} MiB`],
    ["Created", formatTime(vm.created_at)],
    ["Started", started_at === undefined ? undefined : formatTime(started_at)],
    ["Stopped", vm.stopped_at === undefined ? undefined : formatTime(vm.stopped_at)],
    ["PID", vm.pid === undefined ? undefined : String(vm.pid)],
    ["VMM", vm.vmm],
    ["Host", vm.host],
    [
      "Uptime",
      state !== "running" || started_at === undefined ? undefined : formatUptime(Math.max(0, now - started_at))
    ],
    ["Log", vm.console_log_path],
    ["Vsock", vsock(vm)],
    ...drives.map((drive, index) => [index === 0 ? "Drives" : "", drive] as const)
  ]
  return fields
    .filter(([, value]) => value !== undefined)
    .map(([label, value]) => `${(label === "" ? "" : `${label}:`).padEnd(12)}${value}`)
}
