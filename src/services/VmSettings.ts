import type * as Duration from "effect/Duration"

/** How VMs are run on this host: section `vm` of nexus.yaml. Paths are absolute, or a program's name on the PATH. */
export interface VmSettings {
  /** `auto`: Firecracker where it and a usable /dev/kvm are there, else QEMU. */
  readonly vmm: "auto" | "firecracker" | "qemu"
  readonly firecracker: string
  readonly qemu: string
  /** QEMU's accelerator. */
  readonly accel: "auto" | "kvm" | "tcg"
  /** The kernel of records that name none, and its initrd. */
  readonly kernelImage: string | undefined
  readonly initrd: string | undefined
  readonly bootArgs: string | undefined
  readonly stopTimeout: Duration.Duration
  readonly logMaxSizeBytes: number
  /** This host's name among the daemons of one database. */
  readonly host: string
}
