import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { VmmUnavailable } from "../../domain/Errors.js"
import type { VmmName } from "../../domain/VmRun.js"
import type { VmSettings } from "../VmSettings.js"
import { firecracker } from "./Firecracker.js"
import { qemu } from "./Qemu.js"
import { Vmm } from "./Vmm.js"
import type { VmmDriver } from "./VmmDriver.js"
import { vmmRecognition } from "./VmmRecognition.js"

/** VMs as processes of this host. `vm.vmm` says which VMM starts them; those of the other one are watched as well. */
export const layer = (settings: VmSettings): Layer.Layer<Vmm> => {
  const recognition = vmmRecognition(settings)
  const drivers: Readonly<Record<VmmName, VmmDriver>> = {
    firecracker: firecracker(settings, recognition),
    qemu: qemu(settings, recognition)
  }
  const locate = (vmm: VmmName) => Effect.map(drivers[vmm].program, (program) => ({ vmm, program }))

  const selected =
    settings.vmm !== "auto"
      ? locate(settings.vmm)
      : Effect.catchAll(locate("firecracker"), (noFirecracker) =>
          Effect.mapError(
            locate("qemu"),
            (noQemu) => new VmmUnavailable({ message: `${noFirecracker.message}; ${noQemu.message}` })
          )
        )

  return Layer.succeed(Vmm, {
    available: Effect.map(selected, ({ vmm }) => vmm),
    start: (spec) => Effect.flatMap(selected, ({ program, vmm }) => drivers[vmm].start(program, spec)),
    processes: Effect.sync(recognition.scan),
    attach: (found, files) => drivers[found.vmm].attach(found, files),
    endOf: (vmm, files) => Effect.sync(() => drivers[vmm].endOf(files))
  })
}
