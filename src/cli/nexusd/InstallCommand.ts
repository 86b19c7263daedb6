import { spawnSync } from "node:child_process"
import { lstatSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as Path from "node:path"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { printLines, writeStdout } from "../../runtime/StandardStreams.js"
import { systemErrorMessage } from "../../runtime/SystemError.js"
import { expandHome, makePrivateDir } from "../../runtime/XdgDirs.js"
import { nexusd } from "./RootCommand.js"
import { isInstalledText, unitName, unitPath, unitText } from "./SystemdUnit.js"

/** The unit can't be written or removed. */
class UnitError extends Data.TaggedError("UnitError")<{ readonly message: string }> {}

const tryFile = <A>(action: string, path: string, body: () => A) =>
  Effect.try({
    try: body,
    catch: (error) => new UnitError({ message: `cannot ${action} ${path}: ${systemErrorMessage(error)}` })
  })

const exists = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined

const present = (path: string) => tryFile("read", path, () => (exists(path) ? readFileSync(path, "utf8") : undefined))

/** `node nexusd.cjs`, and the settings file if the command line names one. */
const daemonCommand = Effect.flatMap(nexusd, ({ config, db }) =>
  Option.isSome(db)
    ? new UnitError({ message: "install takes no --db: set database.url in nexus.yaml" })
    : Effect.succeed([
        process.execPath,
        Path.join(__dirname, "nexusd.cjs"),
        ...Option.match(config, {
          onNone: () => [],
          onSome: (path) => ["--config", Path.resolve(expandHome(path))]
        })
      ])
)

/** `nexusd install`. */
export const installCommand = Command.make(
  "install",
  {
    isShownOnly: Options.boolean("print").pipe(Options.withDescription("Show the unit, and write nothing")),
    isForced: Options.boolean("force").pipe(Options.withDescription("Replace a unit that differs"))
  },
  ({ isForced, isShownOnly }) =>
    Effect.gen(function* () {
      const text = unitText(yield* daemonCommand)
      if (isShownOnly) {
        yield* writeStdout(text)
        return
      }
      const path = unitPath()
      const found = yield* present(path)
      if (found !== undefined && found !== text && !isForced) {
        return yield* new UnitError({
          message: `${path} exists already and differs: nexusd install --print shows the unit, --force replaces it`
        })
      }
      if (found !== text) {
        yield* tryFile("write", path, () => {
          makePrivateDir(Path.dirname(path))
          writeFileSync(path, text)
        })
      }
      yield* printLines([
        found === text ? `${path} is up to date` : `Wrote ${path}`,
        "",
        "  Start nexusd, now and at each login:",
        `    systemctl --user daemon-reload && systemctl --user enable --now ${unitName}`,
        "  Keep it and its VMs running after logout:",
        "    loginctl enable-linger"
      ])
    })
).pipe(Command.withDescription("Write the systemd user unit that runs this nexusd, and show how to enable it"))

/** Whether systemd runs the unit, or starts it at login. Without systemd neither is so. */
const isInUse = (): boolean =>
  ["is-active", "is-enabled"].some(
    (question) => spawnSync("systemctl", ["--user", "--quiet", question, unitName], { stdio: "ignore" }).status === 0
  )

/** `nexusd uninstall`. */
export const uninstallCommand = Command.make("uninstall", {}, () =>
  Effect.gen(function* () {
    const path = unitPath()
    const found = yield* present(path)
    if (found === undefined) return yield* Effect.asVoid(printLines([`${path} is not there: nothing to remove`]))
    if (!isInstalledText(found)) {
      return yield* new UnitError({
        message: `${path} was not written by nexusd install, or was changed since: remove it by hand`
      })
    }
    if (isInUse()) {
      return yield* new UnitError({
        message: `${unitName} is in use: first systemctl --user disable --now ${unitName} (VMs run on; nexusctl vm stop stops them)`
      })
    }
    yield* tryFile("remove", path, () => rmSync(path))
    yield* printLines([
      `Removed ${path}`,
      "",
      "  Tell systemd:   systemctl --user daemon-reload",
      "  Settings, database and VMs stay as they are."
    ])
  })
).pipe(Command.withDescription("Remove the unit that nexusd install wrote; stop and disable it first"))
