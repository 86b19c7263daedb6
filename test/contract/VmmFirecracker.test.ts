import * as VmmSelection from "../../src/services/vmm/VmmSelection.js"
import { isFirecrackerUsable } from "../support/Vmms.js"
import { hostSignals, vmSettings } from "../support/VmSpecs.js"
import { vmmContract } from "./VmmContract.js"

vmmContract("Firecracker", isFirecrackerUsable, () => ({
  layer: () => VmmSelection.layer({ ...vmSettings, vmm: "firecracker" }),
  ...hostSignals,
  panicEnd: "crashed",
  unusableKernel: { message: /^Firecracker refused \/actions: .*Invalid Elf magic number/ }
}))
