import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { preview, strict } from "./Schemas.js"

const ifSet = <A, I>(schema: Schema.Schema<A, I>) => Schema.optionalWith(schema, { exact: true })

const pattern = (regExp: RegExp, expected: string) =>
  Schema.String.pipe(
    Schema.pattern(regExp, {
      message: ({ actual }) => `expected ${expected}, got ${preview(actual)}`,
      description: expected
    })
  )

const AbsolutePath = pattern(/^\/[^\0]*$/, "an absolute path")
/** Firecracker takes letters, digits and `_`. */
const DeviceId = pattern(/^\w{1,64}$/, "1 to 64 letters, digits or '_'")
/** Text without control characters. Firecracker's limit is 2,048 bytes. */
export const BootArgs = pattern(/^[^\p{Cc}]{0,2048}$/u, "at most 2048 characters, none of them a control character")

/** A member of Firecracker's file that Nexus derives from the record. */
const derived = (member: string) =>
  ifSet(Schema.Undefined.annotations({ message: () => `${member} is derived from the record: leave it out` }))

/** A drive (Firecracker's PUT /drives/{drive_id}): a raw image or a block device. */
export const Drive = Schema.Struct({
  drive_id: DeviceId,
  path_on_host: AbsolutePath,
  is_root_device: Schema.Boolean,
  /** False if absent. */
  is_read_only: ifSet(Schema.Boolean)
})
export type Drive = typeof Drive.Type

/** A network interface (Firecracker's PUT /network-interfaces/{iface_id}): a tap device of the host. */
export const NetworkInterface = Schema.Struct({
  iface_id: DeviceId,
  host_dev_name: pattern(/^[^\s/:\0]{1,15}$/, "the name of a tap device, 1 to 15 characters"),
  guest_mac: ifSet(pattern(/^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$/, "a MAC address like 06:00:ac:10:00:02"))
})
export type NetworkInterface = typeof NetworkInterface.Type

const assertUnique = (ids: ReadonlyArray<string>) =>
  new Set(ids).size === ids.length ? undefined : "expected another id for each device"

/**
 * The members that a record's `config_json` may have: those of Firecracker's configuration file
 * (`firecracker --config-file`) that are not derived from the record.
 */
export const VmConfig = Schema.Struct({
  "boot-source": ifSet(
    Schema.Struct({
      kernel_image_path: ifSet(AbsolutePath),
      initrd_path: ifSet(AbsolutePath),
      boot_args: ifSet(BootArgs)
    })
  ),
  drives: ifSet(
    Schema.Array(Drive).pipe(
      Schema.filter((drives) => assertUnique(drives.map(({ drive_id }) => drive_id))),
      Schema.filter((drives) =>
        drives.filter(({ is_root_device }) => is_root_device).length > 1
          ? "expected one root device at most"
          : undefined
      )
    )
  ),
  "network-interfaces": ifSet(
    Schema.Array(NetworkInterface).pipe(
      Schema.filter((interfaces) => assertUnique(interfaces.map(({ iface_id }) => iface_id)))
    )
  ),
  "machine-config": derived("machine-config"),
  vsock: derived("vsock")
}).annotations({ parseOptions: strict, message: () => ({ message: "expected a JSON object", override: false }) })
export type VmConfig = typeof VmConfig.Type

const decode = Schema.decodeUnknownEither(VmConfig)

const parseJson = (text: string): Either.Either<unknown, string> =>
  Either.try({ try: (): unknown => JSON.parse(text), catch: () => "expected JSON text" })

interface Issue {
  readonly path: ReadonlyArray<PropertyKey>
  readonly message: string
}

/** Reads the configuration of a record. Fails with every bad member and its path. */
export const parseVmConfig = (text: string): Either.Either<VmConfig, ReadonlyArray<Issue>> =>
  parseJson(text).pipe(
    Either.mapLeft((message): ReadonlyArray<Issue> => [{ path: [], message }]),
    Either.flatMap((json) =>
      Either.mapLeft(decode(json), (error) =>
        ParseResult.ArrayFormatter.formatErrorSync(error).map(({ message, path }) => ({ path, message }))
      )
    )
  )

/** Maximum size of a `config_json`, in UTF-8. */
export const maxConfigBytes = 64 * 1024

const configIssues = (text: string): ReadonlyArray<string | Issue> => {
  if (new TextEncoder().encode(text).length > maxConfigBytes) return [`expected at most ${maxConfigBytes} bytes`]
  return Either.match(parseVmConfig(text), { onLeft: (issues) => issues, onRight: () => [] })
}

const ConfigText = Schema.String.annotations({
  description:
    "Firecracker's configuration file as JSON text of at most 64 KiB: boot-source, drives, network-interfaces",
  jsonSchema: { format: "vm-config" }
})

/** `config_json` in a request. The text is kept as it was sent. */
export const VmConfigJson = ConfigText.pipe(Schema.filter(configIssues))

/** The same, where null removes it. A union of the above with null would report every issue together with "expected null". */
export const VmConfigJsonOrNull = Schema.NullOr(ConfigText).pipe(
  Schema.filter((text) => (text === null ? [] : configIssues(text)))
)
