import { readFileSync } from "node:fs"
import { hostname } from "node:os"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { byteSize } from "../domain/ByteSize.js"
import { literals, preview } from "../domain/Schemas.js"
import { BootArgs } from "../domain/VmConfig.js"
import { StopTimeout } from "../domain/VmRequests.js"
import { expandHome } from "../runtime/XdgDirs.js"

/** How VMs are run on this host: section `vm` of nexus.yaml. Paths are absolute, or a program's name on the PATH. */
export interface VmSettings {
  /** `auto`: Firecracker where it and a usable /dev/kvm are there, else QEMU. */
  readonly vmm: typeof vmKeys.vmm.Type
  readonly firecracker: string
  readonly qemu: string
  /** QEMU's accelerator. */
  readonly accel: typeof vmKeys.accel.Type
  /** The kernel of records that name none, and its initrd. */
  readonly kernelImage: string | undefined
  readonly initrd: string | undefined
  readonly bootArgs: string | undefined
  readonly stopTimeout: Duration.Duration
  readonly logMaxSizeBytes: number
  /** This host's name among the daemons of one database. */
  readonly host: string
}

const pathMatching = (regExp: RegExp, expected: string) =>
  Schema.String.annotations({ message: ({ actual }) => `expected ${expected}, got ${preview(actual)}` }).pipe(
    Schema.filter((path) => regExp.test(expandHome(path)), {
      message: ({ actual }) => `expected ${expected}, got ${preview(actual)}`
    })
  )

const HostFile = pathMatching(/^\/[^\0]*$/, "an absolute path")
const Program = pathMatching(/^(?:\/[^\0]*|[^/\0]+)$/, "an absolute path, or a program's name on the PATH")

/** The keys of section `vm`. */
export const vmKeys = {
  vmm: literals(["auto", "firecracker", "qemu"], "The program that runs VMs"),
  firecracker: Program,
  qemu: Program,
  accel: literals(["auto", "kvm", "tcg"], "QEMU's accelerator"),
  kernel_image: HostFile,
  initrd: HostFile,
  boot_args: BootArgs,
  stop_timeout: StopTimeout,
  log_max_size: byteSize(4096, 1024 ** 3),
  host: Schema.NonEmptyString
} as const

type Given = { readonly [K in keyof typeof vmKeys]?: (typeof vmKeys)[K]["Type"] }

/** The machine id (machine-id(5)). A host without one, as some containers are, goes by its host name. */
const thisHost = (): string => {
  try {
    const id = readFileSync("/etc/machine-id", "utf8").trim()
    if (/^[0-9a-f]{32}$/.test(id)) return id
  } catch {}
  return hostname()
}

/** The settings with their defaults. */
export const vmSettings = ({ initrd, kernel_image, ...given }: Given): VmSettings => ({
  vmm: given.vmm ?? "auto",
  firecracker: expandHome(given.firecracker ?? "firecracker"),
  qemu: expandHome(given.qemu ?? "qemu-system-x86_64"),
  accel: given.accel ?? "auto",
  kernelImage: kernel_image && expandHome(kernel_image),
  initrd: initrd && expandHome(initrd),
  bootArgs: given.boot_args,
  stopTimeout: Duration.seconds(given.stop_timeout ?? 10),
  logMaxSizeBytes: given.log_max_size ?? 16 * 1024 ** 2,
  host: given.host ?? thisHost()
})
