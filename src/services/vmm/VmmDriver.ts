import type * as Effect from "effect/Effect"
import type { StartFailed, VmmUnavailable } from "../../domain/Errors.js"
import type { FoundProcess, VmEnd, VmFiles, VmmProcess, VmSpec } from "./Vmm.js"

/** One VMM: the part of `Vmm` that differs between them. */
export interface VmmDriver {
  /** The path of its program, looked up at each call. Fails with what to install. */
  readonly program: Effect.Effect<string, VmmUnavailable>
  readonly start: (program: string, spec: VmSpec) => Effect.Effect<VmmProcess, StartFailed>
  readonly attach: (found: FoundProcess, files: VmFiles) => Effect.Effect<VmmProcess>
  readonly endOf: (files: VmFiles) => VmEnd
}
