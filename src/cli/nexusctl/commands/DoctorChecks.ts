import { existsSync, type Stats, statSync } from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { type Address, formatAddress, isLocal } from "../../../domain/Address.js"
import type { DatabaseStatus } from "../../../domain/Health.js"
import { version as ownVersion } from "../../../domain/Version.js"
import { ExitCode } from "../../../runtime/ExitCode.js"
import type { HostFacts } from "../../../runtime/HostFacts.js"
import type { CommandFailed } from "../daemon/CommandFailure.js"
import { Daemon, type DaemonClient } from "../daemon/DaemonClient.js"
import type { DaemonSettings } from "../daemon/Settings.js"
import { readHostFacts } from "./HostFacts.js"

/** What was checked, and what was found. */
export interface Check {
  readonly name: string
  readonly status: "ok" | "warning" | "problem" | "not checked"
  readonly message: string
  /** What to do about a warning or problem. */
  readonly fix?: string
}

const ok = (name: string, message: string): Check => ({ name, status: "ok", message })
const warning = (name: string, message: string, fix: string): Check => ({ name, status: "warning", message, fix })
const problem = (name: string, message: string, fix: string): Check => ({ name, status: "problem", message, fix })
const notChecked = (name: string, message: string): Check => ({ name, status: "not checked", message })
const skip = (names: ReadonlyArray<string>, reason: string) => names.map((name) => notChecked(name, reason))

const daemonChecks = ["version", "database"]
const hostChecks = ["permissions", "nexusd settings", "VMM", "/dev/kvm", "kernel image"]

const oneLine = ({ lines }: CommandFailed): string =>
  lines
    .map((line) => line.trim().replace(/^Error: /, ""))
    .filter((line) => line !== "" && !line.startsWith("Start it:"))
    .map((line) => line.replace(/\.$/, ""))
    .join(": ")

const configuration = ({ context, file }: DaemonSettings): Check => {
  const where = existsSync(file.value) ? file.value : `no ${file.value}: defaults`
  return ok("configuration", context === undefined ? where : `${where}, context ${context.value}`)
}

const versionCheck = (version: string | undefined): Check => {
  if (version === ownVersion) return ok("version", `nexusctl and nexusd are ${version}`)
  return warning(
    "version",
    `nexusctl is ${ownVersion}, nexusd ${version === undefined ? "does not say its version: it is older" : version}`,
    "install the same version of both, then restart nexusd: systemctl --user restart nexus.service"
  )
}

interface Answer {
  readonly version: string | undefined
  readonly database: { readonly [K in keyof DatabaseStatus]?: DatabaseStatus[K] | undefined } | undefined
  /** Why the daemon is not healthy. */
  readonly degraded: string | undefined
}

const databaseCheck = ({ database, degraded }: Answer): Check => {
  if (degraded !== undefined)
    return problem("database", degraded, "nexusd's log has the cause: journalctl --user -u nexus")
  return database === undefined
    ? notChecked("database", "the daemon does not name it")
    : ok("database", `${database.path}, ${database.table_count} tables, ${database.size_bytes} bytes`)
}

const health = ({ call }: DaemonClient): Effect.Effect<Answer, CommandFailed> =>
  call({ action: "cannot get the daemon's health" }, (client) =>
    client.health.check({}).pipe(
      Effect.map(({ database, version }): Answer => ({ version, database, degraded: undefined })),
      Effect.catchTag("Degraded", ({ database, message, version }) =>
        Effect.succeed<Answer>({ version, database, degraded: message })
      )
    )
  )

const stat = (path: string): Stats | undefined => {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(4, "0")

/** Files and folders of nexusd that other users of this host may use. */
const permissionsCheck = (database: string): Check => {
  const files = [Path.dirname(database), database, `${database}-wal`, `${database}-shm`]
  const open = files.flatMap((path) => {
    const found = stat(path)
    return found !== undefined && (found.mode & 0o077) !== 0 ? [{ path, mode: found.mode }] : []
  })
  if (open.length === 0) return ok("permissions", `the database and its folder are this user's alone`)
  return warning(
    "permissions",
    `other users may use ${open.map(({ mode, path }) => `${path} (mode ${octal(mode)})`).join(", ")}`,
    `chmod go= ${open.map(({ path }) => path).join(" ")}`
  )
}

const kvmCheck = ({ isEmulated, kvm, vmm }: NonNullable<HostFacts["found"]>): Check => {
  if (kvm === "usable") return ok("/dev/kvm", "this user may read and write it")
  if (isEmulated) return ok("/dev/kvm", "not needed: vm.accel is tcg")
  const found = kvm === "missing" ? "is not there" : "may not be read and written by this user"
  const fix =
    kvm === "missing"
      ? "enable virtualization in the firmware (or nested virtualization), then modprobe kvm_intel or kvm_amd"
      : "sudo usermod -aG kvm $USER, then log in again"
  return vmm.name === "qemu"
    ? warning("/dev/kvm", `${found}: QEMU emulates the guest's processor, which is slow`, fix)
    : problem("/dev/kvm", `${found}: Firecracker needs it`, fix)
}

const kernelCheck = ({ initrd, kernel }: NonNullable<HostFacts["found"]>, settings: string): Check => {
  const found = [kernel, initrd].find((file) => file?.problem !== undefined)?.problem
  if (found !== undefined) return problem("kernel image", found, `correct vm.kernel_image or vm.initrd in ${settings}`)
  return kernel === undefined
    ? warning("kernel image", "none is configured: each VM needs --kernel", `set vm.kernel_image in ${settings}`)
    : ok("kernel image", [kernel, ...(initrd === undefined ? [] : [initrd])].map(({ path }) => path).join(", "))
}

/** What a nexusd finds here. One that runs with another database was started with other settings. */
const factChecks = ({ found, settings }: HostFacts, database: string | undefined): ReadonlyArray<Check> => {
  const { path } = settings
  if (found === undefined) {
    return [
      problem("nexusd settings", settings.problem ?? "can't be used", `correct ${path}`),
      ...skip(["VMM", "/dev/kvm", "kernel image"], "nexusd's settings can't be used")
    ]
  }
  const file = existsSync(path) ? path : `no ${path}: defaults`
  return [
    database === undefined || found.database === database
      ? ok("nexusd settings", file)
      : warning(
          "nexusd settings",
          `${file}; they name the database ${found.database}, so the daemon was started with others`,
          "what follows is true of a nexusd that is started with these; restart it with them"
        ),
    found.vmm.problem === undefined
      ? ok("VMM", found.vmm.name ?? "")
      : problem(
          "VMM",
          found.vmm.problem,
          "apt install qemu-system-x86, or install Firecracker where there is /dev/kvm"
        ),
    kvmCheck(found),
    kernelCheck(found, path)
  ]
}

/** What can only be seen on the daemon's host. Without an answer of the daemon, what a nexusd that starts now would find. */
const checkHost = (address: Address, answer: Answer | undefined) =>
  Effect.gen(function* () {
    if (!isLocal(address)) return skip(hostChecks, "the daemon is on another host")
    const served = answer?.database?.path
    if (served !== undefined && Path.isAbsolute(served) && !existsSync(served)) {
      return skip(hostChecks, `the daemon's database ${served} is not on this host`)
    }
    const facts = yield* Effect.either(readHostFacts)
    const database = served ?? Option.getOrUndefined(Either.getRight(facts))?.found?.database
    return [
      database === undefined || !existsSync(database)
        ? notChecked("permissions", "no database file is known")
        : permissionsCheck(database),
      ...(Either.isLeft(facts) ? skip(hostChecks.slice(1), facts.left) : factChecks(facts.right, served))
    ]
  })

/** The failure of a call to the daemon. */
const unanswered = (failure: CommandFailed): Check =>
  problem(
    "daemon",
    oneLine(failure),
    failure.exitCode === ExitCode.unreachable
      ? "start it: systemctl --user start nexus.service; nexusctl config shows where its address comes from"
      : "nexusctl config shows where its address and token come from"
  )

/** All checks, in the order in which one needs the other. Reports only what was observed. */
export const doctorChecks: Effect.Effect<ReadonlyArray<Check>, never, Daemon> = Effect.gen(function* () {
  const { client, settings } = yield* Daemon
  const configured = yield* Effect.either(Effect.zip(settings, client))
  if (Either.isLeft(configured)) {
    return [
      problem("configuration", oneLine(configured.left), "correct what the message names"),
      ...skip(["daemon", ...daemonChecks, ...hostChecks], "the configuration can't be used")
    ]
  }
  const [found, daemon] = configured.right
  const answer = yield* Effect.either(health(daemon))
  return [
    configuration(found),
    ...Either.match(answer, {
      onLeft: (failure) => [unanswered(failure), ...skip(daemonChecks, "the daemon does not answer")],
      onRight: (answer) => [
        ok("daemon", `answers at ${formatAddress(daemon.address)}`),
        versionCheck(answer.version),
        databaseCheck(answer)
      ]
    }),
    ...(yield* checkHost(daemon.address, Either.isRight(answer) ? answer.right : undefined))
  ]
})
