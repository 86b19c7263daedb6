import type { HostProcess } from "../../src/domain/VmRun.js"
import * as VmmMemory from "../../src/services/vmm/VmmMemory.js"
import { vmmContract } from "./VmmContract.js"

vmmContract("memory", true, () => {
  const host = new VmmMemory.MemoryHost()
  const setStopped = (isStopped: boolean) => (process: HostProcess) => {
    const found = host.find(process)
    if (found !== undefined) found.isStopped = isStopped
  }
  return {
    layer: () => VmmMemory.layer(host),
    kill: (process) => host.find(process)?.end(VmmMemory.killed),
    pauseProcess: setStopped(true),
    continueProcess: setStopped(false),
    panicEnd: "crashed"
  }
})
