import * as Effect from "effect/Effect"
import { VmmUnavailable } from "../../domain/Errors.js"
import type { VmSettings } from "../VmSettings.js"
import type { VmmDriver } from "./VmmDriver.js"
import type { VmmRecognition } from "./VmmRecognition.js"

export const qemu = (_settings: VmSettings, _recognition: VmmRecognition): VmmDriver => ({
  program: Effect.fail(new VmmUnavailable({ message: "QEMU is not supported yet" })),
  start: () => Effect.die("not supported"),
  attach: () => Effect.die("not supported"),
  endOf: () => ({ state: "crashed", reason: "unknown" })
})
