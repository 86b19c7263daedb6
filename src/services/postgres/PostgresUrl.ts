import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"

const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const
/** How a connection is encrypted and what of the server's certificate is checked, as libpq has it. */
type SslMode = (typeof sslModes)[number]

/** Which server of several is wanted. A store writes: libpq's other words would lead to a server that can't. */
const sessionAttributes = ["any", "read-write", "primary"] as const
export type SessionAttributes = (typeof sessionAttributes)[number]

/** Where a server is asked: a name or address, or the folder of its Unix socket. */
export interface PostgresHost {
  readonly host: string
  readonly port: number
}

/** What a `postgres://` URL says. What it leaves out comes from the environment as pg reads it, `PGPASSWORD` among it. */
export interface PostgresTarget {
  /** The URL without its password: for people, logs and health. */
  readonly redactedUrl: string
  /** In the order in which they are tried. */
  readonly hosts: ReadonlyArray<PostgresHost>
  readonly user: string | undefined
  readonly password: Redacted.Redacted | undefined
  readonly database: string | undefined
  readonly sslMode: SslMode
  /** A file, or `system` for the authorities that Node.js trusts. */
  readonly sslRootCert: string | undefined
  readonly sslCert: string | undefined
  readonly sslKey: string | undefined
  readonly sessionAttributes: SessionAttributes
  readonly applicationName: string | undefined
  readonly options: string | undefined
}

const parameters = [
  "host",
  "port",
  "user",
  "password",
  "dbname",
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "target_session_attrs",
  "application_name",
  "options"
] as const
type Parameter = (typeof parameters)[number]
const isParameter = (name: string): name is Parameter => parameters.some((parameter) => parameter === name)

/** Whether a text means a PostgreSQL server; all else is a path. */
export const isPostgresUrl = (text: string): boolean => /^postgres(ql)?:\/\//i.test(text)

const shape = /^(postgres(?:ql)?:\/\/)(?:([^/?#]*)@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i

/** The URL without its password, wherever in it that stands. */
const withoutPassword = ([, scheme = "", login, hosts = "", database, query]: RegExpExecArray): string => {
  const kept = query?.split("&").filter((parameter) => !/^password=/i.test(parameter)) ?? []
  return [
    scheme,
    login === undefined ? "" : `${login.replace(/:.*$/s, "")}@`,
    hosts,
    database === undefined ? "" : `/${database}`,
    kept.length === 0 ? "" : `?${kept.join("&")}`
  ].join("")
}

class BadUrl extends Error {}

const hint = " (what is special in a password must be percent-encoded)"

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new BadUrl(`a % in it is followed by no two hexadecimal digits${hint}`)
  }
}

const optional = (text: string | undefined): string | undefined =>
  text === undefined || text === "" ? undefined : decoded(text)

const portOf = (text: string): number => {
  if (text === "") return 5432
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  // Not shown: it is where the password stands when an @ is missing.
  if (port < 1 || port > 65_535) throw new BadUrl(`a port in it is no number from 1 to 65535${hint}`)
  return port
}

const hostsOf = (text: string, given: ReadonlyMap<Parameter, string>): ReadonlyArray<PostgresHost> => {
  const hosts = text.split(",").map((one): readonly [host: string, port: string] => {
    const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/s.exec(one) ?? []
    const host = bracketed ?? plain
    if (host === undefined) throw new BadUrl("a host in it is neither a name nor an address")
    return [decoded(host), port ?? ""]
  })
  const named = given.get("host")?.split(",") ?? hosts.map(([host]) => host)
  const ports = given.get("port")?.split(",") ?? hosts.map(([, port]) => port)
  if (ports.length !== 1 && ports.length !== named.length) throw new BadUrl("it has not as many ports as hosts")
  return named.map((host, at) => ({
    host: host === "" ? "localhost" : host,
    port: portOf((ports.length === 1 ? ports[0] : ports[at]) ?? "")
  }))
}

const oneOf = <A extends string>(name: Parameter, words: ReadonlyArray<A>, text: string): A => {
  const found = words.find((word) => word === text)
  if (found === undefined) throw new BadUrl(`${name} in it is none of ${words.join(", ")}`)
  return found
}

const queryOf = (query: string): ReadonlyMap<Parameter, string> =>
  new Map(
    query
      .split("&")
      .filter((parameter) => parameter !== "")
      .map((parameter) => {
        const [name = "", value = ""] = parameter.split(/=(.*)/s).map(decoded)
        if (!isParameter(name)) throw new BadUrl(`it has a parameter that is none of ${parameters.join(", ")}`)
        return [name, value] as const
      })
  )

/**
 * Reads `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?sslmode=…`, with libpq's names for what follows the
 * question mark. What is wrong with one is said without a word of it, since any may be of the password.
 */
export const parsePostgresUrl = (text: string): Either.Either<PostgresTarget, string> =>
  Either.try({
    try: () => {
      const parts = shape.exec(text)
      if (parts === null) throw new BadUrl(`expected postgres://USER:PASSWORD@HOST:PORT/DATABASE${hint}`)
      const [, , login = "", hosts = "", database, query = ""] = parts
      const [user, password] = login.split(/:(.*)/s)
      const given = queryOf(query)
      const secret = given.get("password") ?? optional(password)
      return {
        redactedUrl: withoutPassword(parts),
        hosts: hostsOf(hosts, given),
        user: given.get("user") ?? optional(user),
        password: secret === undefined ? undefined : Redacted.make(secret),
        database: given.get("dbname") ?? optional(database),
        sslMode: oneOf("sslmode", sslModes, given.get("sslmode") ?? "prefer"),
        sslRootCert: given.get("sslrootcert"),
        sslCert: given.get("sslcert"),
        sslKey: given.get("sslkey"),
        sessionAttributes: oneOf(
          "target_session_attrs",
          sessionAttributes,
          // Of several servers all but one are standbys, as a rule.
          given.get("target_session_attrs") ?? (hostsOf(hosts, given).length > 1 ? "read-write" : "any")
        ),
        applicationName: given.get("application_name"),
        options: given.get("options")
      }
    },
    catch: (error) => `not a PostgreSQL URL: ${error instanceof BadUrl ? error.message : "it cannot be read"}`
  })
