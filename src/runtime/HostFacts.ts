import * as Schema from "effect/Schema"

const optional = <A>(schema: Schema.Schema<A>) => Schema.optionalWith(schema, { exact: true })

/** A file that a setting names. `problem` says why it can't be used. */
const namedFile = () => Schema.Struct({ path: Schema.String, problem: optional(Schema.String) })

/**
 * What a nexusd finds on this host that this user starts now, with its default settings file and this environment. One that
 * runs already may have been started otherwise. nexusctl asks for them by the hidden command `nexusd host-facts`. Made when it is used, since most runs do not need it.
 */
export const hostFacts = () =>
  Schema.Struct({
    /** `nexus.yaml`, which may be missing. With a problem nothing else is known. */
    settings: namedFile(),
    found: optional(
      Schema.Struct({
        /** The database's path, or its URL without a password. */
        database: Schema.String,
        /** Firecracker or QEMU, or why there is none. */
        vmm: Schema.Struct({ name: optional(Schema.String), problem: optional(Schema.String) }),
        /** `forbidden`: this user may not read and write it. */
        kvm: Schema.Literal("usable", "forbidden", "missing"),
        /** Whether `vm.accel` makes QEMU use no KVM. */
        isEmulated: Schema.Boolean,
        kernel: optional(namedFile()),
        initrd: optional(namedFile())
      })
    )
  })
export type HostFacts = ReturnType<typeof hostFacts>["Type"]

/** The hidden command of nexusd that prints them as JSON. */
export const hostFactsCommandName = "host-facts"
