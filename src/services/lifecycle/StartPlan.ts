import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Vm } from "../../domain/Vm.js"
import { parseVmConfig, type VmConfig } from "../../domain/VmConfig.js"
import type { DriveIdentity } from "../../domain/VmRun.js"
import type { VmSettings } from "../VmSettings.js"
import type { VmSpec } from "../vmm/Vmm.js"
import { FileRefused } from "./FileRefused.js"
import { assertTapsExist } from "./HostTaps.js"
import { assertReadable, identifyDrives, type OwnFiles } from "./ImageFiles.js"
import { filesOf } from "./VmFolder.js"

/** How a VM is to be started, once its logs are open. */
export interface StartPlan {
  readonly spec: Omit<VmSpec, "consoleDescriptor" | "vmmLogDescriptor">
  readonly drives: ReadonlyArray<DriveIdentity>
}

/** Reads a record's `config_json`, which another daemon may have written. */
const configOf = ({ config_json }: Vm): Either.Either<VmConfig, FileRefused> =>
  config_json === undefined
    ? Either.right({})
    : Either.mapLeft(
        parseVmConfig(config_json),
        (issues) =>
          new FileRefused({
            message: issues.map(({ message, path }) => `${["config_json", ...path].join(".")}: ${message}`).join("; ")
          })
      )

const noKernel = new FileRefused({
  message:
    "no kernel is configured: give the VM one with --kernel (boot-source.kernel_image_path), " +
    "or all VMs with vm.kernel_image in nexus.yaml"
})

/** The record's kernel with its initrd, else those of the settings. */
const bootOf = (config: VmConfig, settings: VmSettings) => {
  const source = config["boot-source"]
  const kernelPath = source?.kernel_image_path ?? settings.kernelImage
  if (kernelPath === undefined) return Either.left(noKernel)
  return Either.right({
    kernelPath,
    initrdPath: source?.initrd_path ?? (source?.kernel_image_path === undefined ? settings.initrd : undefined),
    bootArgs: source?.boot_args ?? settings.bootArgs
  })
}

/** The identities of the drives of a VM that runs already. What can't be looked up is left out. */
export const drivesOf = (vm: Vm, own: OwnFiles): Effect.Effect<ReadonlyArray<DriveIdentity>> =>
  configOf(vm).pipe(
    Effect.flatMap(({ drives = [] }) => identifyDrives(drives, own)),
    Effect.orElseSucceed(() => [])
  )

/** Resolves all that a start needs, and checks its files. Changes nothing. */
export const planStart = (vm: Vm, settings: VmSettings, own: OwnFiles): Effect.Effect<StartPlan, FileRefused> =>
  Effect.gen(function* () {
    const files = yield* filesOf(own.stateFolder, vm.id)
    const config = yield* configOf(vm)
    const boot = yield* bootOf(config, settings)
    yield* assertReadable(boot.kernelPath, own)
    if (boot.initrdPath !== undefined) yield* assertReadable(boot.initrdPath, own)
    const drives = config.drives ?? []
    const networkInterfaces = config["network-interfaces"] ?? []
    yield* assertTapsExist(networkInterfaces)
    const { cid, id, mem_size_mib, name, vcpu_count } = vm
    return {
      spec: {
        ...{ id, name, cid, vcpu_count, mem_size_mib },
        ...boot,
        drives,
        networkInterfaces,
        files
      },
      drives: yield* identifyDrives(drives, own)
    }
  })
