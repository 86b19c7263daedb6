import * as VmmSelection from "../../src/services/vmm/VmmSelection.js"
import { isQemuUsable } from "../support/Vmms.js"
import { hostSignals, vmSettings } from "../support/VmSpecs.js"
import { vmmContract } from "./VmmContract.js"

vmmContract("QEMU", isQemuUsable, () => ({
  layer: () => VmmSelection.layer({ ...vmSettings, vmm: "qemu" }),
  ...hostSignals,
  // With -no-reboot it can't be told from a reboot.
  panicEnd: "stopped",
  words: {
    badKernel: /^QEMU ended with exit code 1: .*kernel/,
    missingDrive: /^QEMU ended with exit code 1: .*Could not open '.*missing,disk.img': No such file/
  }
}))
