import { existsSync } from "node:fs"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { type HostFacts, hostFactsCommandName } from "../../runtime/HostFacts.js"
import { printJson } from "../../runtime/StandardStreams.js"
import { type Config, defaultConfigPath } from "../../services/Config.js"
import { formatTarget } from "../../services/DatabaseTarget.js"
import { assertReadable } from "../../services/lifecycle/ImageFiles.js"
import { isKvmUsable } from "../../services/vmm/DeviceAccess.js"
import { Vmm } from "../../services/vmm/Vmm.js"
import * as VmmSelection from "../../services/vmm/VmmSelection.js"
import { hidden } from "../runner/CommandTree.js"
import { config } from "./RootCommand.js"

const fileFacts = ({ privateFiles, stateFolder }: Config, path: string) =>
  Effect.match(assertReadable(path, { stateFolder, paths: privateFiles }), {
    onFailure: ({ message }) => ({ path, problem: message }),
    onSuccess: () => ({ path })
  })

const kvm = () => (isKvmUsable() ? "usable" : existsSync("/dev/kvm") ? "forbidden" : "missing")

const factsOf = (config: Config): Effect.Effect<NonNullable<HostFacts["found"]>> =>
  Effect.gen(function* () {
    const { accel, initrd, kernelImage, vmm } = config.vm
    const available = yield* Effect.either(
      Effect.flatMap(Vmm, ({ available }) => available).pipe(Effect.provide(VmmSelection.layer(config.vm)))
    )
    return {
      database: formatTarget(config.database),
      vmm: Either.match(available, {
        onLeft: ({ message }) => ({ problem: message }),
        onRight: (name) => ({ name })
      }),
      kvm: kvm(),
      isEmulated: accel === "tcg" && vmm !== "firecracker",
      ...(kernelImage !== undefined && { kernel: yield* fileFacts(config, kernelImage) }),
      ...(initrd !== undefined && { initrd: yield* fileFacts(config, initrd) })
    }
  })

/** `nexusd host-facts`, for `nexusctl doctor`: prints `HostFacts` as JSON. */
export const hostFactsCommand = hidden(
  Command.make(hostFactsCommandName, {}, () =>
    Effect.gen(function* () {
      const path = defaultConfigPath()
      const loaded = yield* Effect.either(config)
      const facts: HostFacts = Either.isLeft(loaded)
        ? { settings: { path, problem: loaded.left.message } }
        : { settings: { path }, found: yield* factsOf(loaded.right) }
      yield* printJson(facts)
    })
  )
)
