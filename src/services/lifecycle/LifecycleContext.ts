import type * as Scope from "effect/Scope"
import type { VmSettings } from "../VmSettings.js"
import type { VmStore } from "../VmStore.js"
import type { Vmm } from "../vmm/Vmm.js"
import type { Host } from "./Host.js"
import type { OwnFiles } from "./ImageFiles.js"
import type { ProcessScan } from "./ProcessScan.js"
import type { VmSupervisor } from "./VmSupervisor.js"

/** What the parts of the lifecycle share. */
export interface LifecycleContext {
  readonly store: VmStore["Type"]
  readonly vmm: Vmm["Type"]
  readonly scan: ProcessScan
  readonly settings: VmSettings
  readonly host: Host
  readonly own: OwnFiles
  readonly databaseId: string
  readonly supervisor: VmSupervisor
  /** Closes when nexusd stops; VMs run on. */
  readonly scope: Scope.Scope
}
