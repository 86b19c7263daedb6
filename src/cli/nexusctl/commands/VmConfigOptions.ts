import * as Path from "node:path"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { maxConfigBytes, parseVmConfig, type VmConfig } from "../../../domain/VmConfig.js"
import { readRegularFile } from "../../../runtime/RegularFile.js"
import { expandHome } from "../../../runtime/XdgDirs.js"
import { type CommandFailed, usageError } from "../daemon/CommandFailure.js"

const option = (flag: string, placeholder: string, description: string) =>
  Options.text(flag).pipe(Options.withPseudoName(placeholder), Options.withDescription(description), Options.optional)

/** The options that make up a VM's `config_json`. */
export const configOptions = {
  kernel: option("kernel", "PATH", "The guest's kernel (default: nexusd's vm.kernel_image)"),
  initrd: option("initrd", "PATH", "The guest's initial RAM disk"),
  rootfs: option("rootfs", "PATH[:ro]", "Image or block device of the root file system, with :ro read-only"),
  "boot-args": option("boot-args", "TEXT", "The kernel's command line"),
  "vm-config": option("vm-config", "FILE", "Configuration in the format of firecracker --config-file")
} as const

type ConfigOptions = { readonly [K in keyof typeof configOptions]: Option.Option<string> }

/** The first of these options that is given: `--kernel`. */
export const firstConfigOption = (given: ConfigOptions): string | undefined => {
  const names = ["kernel", "initrd", "rootfs", "boot-args", "vm-config"] as const
  const name = names.find((name) => Option.isSome(given[name]))
  return name && `--${name}`
}

/** `source` names the configuration in the error. */
const parse = (source: string, text: string): Either.Either<VmConfig, CommandFailed> =>
  Either.mapLeft(parseVmConfig(text), (issues) => {
    const problems = issues.map(({ message, path }) =>
      path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`
    )
    return usageError(`${source}: ${problems.join("; ")}`)
  })

const absolute = (path: string) => Path.resolve(expandHome(path))

const readConfig = (path: string) =>
  readRegularFile(expandHome(path), maxConfigBytes).pipe(
    Effect.mapError(({ reason }) => usageError(`cannot read ${path}: ${reason}`)),
    Effect.map(({ text }) => text),
    Effect.tap((text) => parse(path, text))
  )

const rootDrive = (given: string) => {
  const isReadOnly = given.endsWith(":ro")
  return {
    drive_id: "rootfs",
    path_on_host: absolute(isReadOnly ? given.slice(0, -":ro".length) : given),
    is_root_device: true,
    is_read_only: isReadOnly
  }
}

/** The configuration with the members that the options name. Their paths are made absolute. */
const withOptions = (config: VmConfig, given: ConfigOptions): VmConfig => {
  const boot = {
    ...config["boot-source"],
    ...Option.match(given.kernel, {
      onNone: () => ({}),
      onSome: (path) => ({ kernel_image_path: absolute(path) })
    }),
    ...Option.match(given.initrd, { onNone: () => ({}), onSome: (path) => ({ initrd_path: absolute(path) }) }),
    ...Option.match(given["boot-args"], { onNone: () => ({}), onSome: (text) => ({ boot_args: text }) })
  }
  const otherDrives = (config.drives ?? []).filter(({ is_root_device }) => !is_root_device)
  return {
    ...config,
    ...(Object.keys(boot).length > 0 && { "boot-source": boot }),
    ...(Option.isSome(given.rootfs) && { drives: [rootDrive(given.rootfs.value), ...otherDrives] })
  }
}

/**
 * The `config_json` that the options make of `present`, or of the file of `--vm-config`, whose text is kept if there is no
 * other option. `undefined` if no option is given.
 */
export const configJson = (given: ConfigOptions, present = "{}"): Effect.Effect<string | undefined, CommandFailed> =>
  Effect.gen(function* () {
    const first = firstConfigOption(given)
    if (first === undefined) return undefined
    const file = Option.getOrUndefined(given["vm-config"])
    const base = file === undefined ? present : yield* readConfig(file)
    if (first === "--vm-config") return base
    const text = JSON.stringify(withOptions(yield* parse("the present configuration", base), given))
    yield* parse("the configuration", text)
    return text
  })
