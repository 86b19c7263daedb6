import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { Address, defaultAddress, formatAddress, isLocal } from "../../../domain/Address.js"
import { preview } from "../../../domain/Schemas.js"
import { BadConfig, formatParseError, readConfigFile, settings } from "../../../runtime/ConfigFile.js"
import { readToken, tokenFromEnvironment } from "../../../runtime/Token.js"
import { configDir, expandHome } from "../../../runtime/XdgDirs.js"
import { suggestion } from "../../runner/Suggestion.js"

/** The name of a context. A shell takes it as one word. */
export const ContextName = Schema.String.pipe(
  Schema.filter((name) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name), {
    description: "The context of the settings file that names the daemon",
    message: ({ actual }) =>
      `expected a name of letters, digits, '.', '_' and '-', at most 63 characters, got ${preview(actual)}`
  })
)

const exact = { exact: true } as const
const tokenFile = Schema.optionalWith(Schema.NonEmptyString, exact)

/** A daemon that the settings file names. */
const NamedDaemon = Schema.Struct({ daemon: Address, token_file: tokenFile }).annotations(settings)

/** The keys of `config.yaml`. */
const SettingsFile = Schema.Struct({
  daemon: Schema.optionalWith(Address, exact),
  token_file: tokenFile,
  contexts: Schema.optionalWith(
    Schema.Record({ key: Schema.String, value: NamedDaemon })
      .annotations({ message: settings.message })
      .pipe(
        Schema.filter((contexts) =>
          Object.keys(contexts).flatMap((name) => {
            const decoded = Schema.decodeEither(ContextName)(name)
            return Either.isLeft(decoded) ? [{ path: [], message: formatParseError(decoded.left) }] : []
          })
        )
      ),
    exact
  ),
  current: Schema.optionalWith(Schema.String, exact)
}).annotations(settings)
type SettingsFile = typeof SettingsFile.Type

/** The settings file without `--config`. */
export const defaultConfigPath = (): string => Path.join(configDir(), "nexusctl", "config.yaml")

/** Seconds without a byte after which the daemon counts as unreachable. */
export const defaultSilenceSeconds = 5

/** The global options that say which daemon is meant. */
export interface DaemonFlags {
  readonly config: string | undefined
  readonly context: string | undefined
  readonly daemon: Address | undefined
  readonly tokenFile: string | undefined
  readonly timeout: number | undefined
}

/** A setting, and the option, variable or key that it comes from. */
interface Sourced<A> {
  readonly value: A
  /** `--daemon`, `NEXUS_DAEMON`, `contexts.lab.daemon`, `default`. */
  readonly source: string
}

/** Which daemon is meant. */
export interface DaemonSettings {
  /** The settings file, which may be missing if nobody named it. */
  readonly file: Sourced<string>
  /** The names in the file. */
  readonly contexts: ReadonlyArray<string>
  readonly context: Sourced<string> | undefined
  readonly daemon: Sourced<Address>
  /** The file of the token; `undefined` for a token from the environment. */
  readonly token: Sourced<string | undefined> | undefined
  /** How long the daemon may send no byte, for most commands. */
  readonly timeoutSeconds: Sourced<number>
}

const addressFromEnvironment = Effect.suspend(() => {
  const value = process.env["NEXUS_DAEMON"]
  return value === undefined || value === ""
    ? Effect.succeed(undefined)
    : Either.mapLeft(
        Schema.decodeEither(Address)(value),
        (error) => new BadConfig({ message: `NEXUS_DAEMON: ${formatParseError(error)}` })
      )
})

/** A context of the file. Fails with the names that there are. `where` names the option or key that names the context. */
const findContext = ({ contexts = {} }: SettingsFile, file: string, name: string, where: string) => {
  const context = Object.hasOwn(contexts, name) ? contexts[name] : undefined
  if (context !== undefined) return Effect.succeed({ name, ...context })
  const names = Object.keys(contexts)
  const known = names.length === 0 ? `${file} has none` : `expected one of ${names.join(", ")}`
  return new BadConfig({ message: `${where}: unknown context ${preview(name)}: ${known}${suggestion(name, names)}` })
}

const isSame = (one: Address, other: Address): boolean => formatAddress(one) === formatAddress(other)

/**
 * The token file that the settings have for an address: the one beside that address. One without an address beside it is
 * for daemons of this host, while no context is chosen.
 */
const tokenFileFor = (
  file: SettingsFile,
  context: string | undefined,
  address: Address
): Sourced<string> | undefined => {
  const contexts = Object.entries(file.contexts ?? {}).map(([name, named]) => ({
    ...named,
    source: `contexts.${name}.token_file`,
    isChosen: name === context
  }))
  const candidates = [
    ...contexts.filter(({ isChosen }) => isChosen),
    { daemon: file.daemon, token_file: file.token_file, source: "token_file" },
    ...contexts
  ]
  for (const { daemon, source, token_file } of candidates) {
    if (token_file === undefined) continue
    const isFor = daemon === undefined ? context === undefined && isLocal(address) : isSame(daemon, address)
    if (isFor) return { value: token_file, source }
  }
  return undefined
}

/**
 * Finds the daemon and its token. Precedence: `--daemon`, `--context`, `NEXUS_DAEMON`, `current` in the file, `daemon` in the
 * file, default. Fails rather than fall back to another daemon than the user meant.
 */
export const readDaemonSettings = (flags: DaemonFlags): Effect.Effect<DaemonSettings, BadConfig> =>
  Effect.gen(function* () {
    const path = expandHome(flags.config ?? defaultConfigPath())
    const file = yield* readConfigFile(flags.config, defaultConfigPath(), SettingsFile, {})
    const current =
      file.current === undefined ? undefined : yield* findContext(file, path, file.current, `${path}: current`)
    const named = flags.context === undefined ? undefined : yield* findContext(file, path, flags.context, "--context")
    const environment = yield* addressFromEnvironment
    const context = named ?? (flags.daemon === undefined && environment === undefined ? current : undefined)
    const daemon = ((): Sourced<Address> => {
      if (flags.daemon !== undefined) return { value: flags.daemon, source: "--daemon" }
      if (context !== undefined) return { value: context.daemon, source: `contexts.${context.name}.daemon` }
      if (environment !== undefined) return { value: environment, source: "NEXUS_DAEMON" }
      return file.daemon === undefined
        ? { value: defaultAddress, source: "default" }
        : { value: file.daemon, source: "daemon" }
    })()
    const hasTokenVariable = flags.tokenFile === undefined && (yield* tokenFromEnvironment("NEXUS_TOKEN")) !== undefined
    const token = ((): Sourced<string | undefined> | undefined => {
      if (flags.tokenFile !== undefined) return { value: flags.tokenFile, source: "--token-file" }
      if (hasTokenVariable) return { value: undefined, source: "NEXUS_TOKEN" }
      return tokenFileFor(file, context?.name, daemon.value)
    })()
    return {
      file: { value: path, source: flags.config === undefined ? "default" : "--config" },
      contexts: Object.keys(file.contexts ?? {}),
      context: context && { value: context.name, source: context === named ? "--context" : "current" },
      daemon,
      token,
      timeoutSeconds:
        flags.timeout === undefined
          ? { value: defaultSilenceSeconds, source: "default" }
          : { value: flags.timeout, source: "--timeout" }
    }
  })

/** The token that the settings name, if any. */
export const tokenOf = ({ token }: DaemonSettings): Effect.Effect<string | undefined, BadConfig> => {
  if (token === undefined) return Effect.succeed(undefined)
  return token.value === undefined ? tokenFromEnvironment("NEXUS_TOKEN") : readToken(token.value)
}
