import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"

const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const
/** libpq's `sslmode`. */
type SslMode = (typeof sslModes)[number]

/** libpq's `target_session_attrs`, without the values that accept a read-only server. */
const sessionAttributes = ["any", "read-write", "primary"] as const
export type SessionAttributes = (typeof sessionAttributes)[number]

/** A server: `host` is a name, an address, or the folder of its Unix socket. */
export interface PostgresHost {
  readonly host: string
  readonly port: number
}

/** A parsed `postgres://` URL. pg takes what is `undefined` from the environment (`PGUSER`, `PGPASSWORD`, …). */
export interface PostgresTarget {
  /** The URL without its password, for messages, logs and health. */
  readonly redactedUrl: string
  /** In the order of attempts. */
  readonly hosts: ReadonlyArray<PostgresHost>
  readonly user: string | undefined
  readonly password: Redacted.Redacted | undefined
  readonly database: string | undefined
  readonly sslMode: SslMode
  /** A file, or `system` for the certificate authorities of Node.js. */
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

export const isPostgresUrl = (text: string): boolean => /^postgres(ql)?:\/\//i.test(text)

const urlPattern = /^(postgres(?:ql)?:\/\/)(?:([^/?#]*)@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i

/** The URL without its password, which may be in the login or the query. */
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

const percentDecode = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new BadUrl(`a % in it is followed by no two hexadecimal digits${hint}`)
  }
}

const decodeOptional = (text: string | undefined): string | undefined =>
  text === undefined || text === "" ? undefined : percentDecode(text)

const portOf = (text: string): number => {
  if (text === "") return 5432
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  // The message omits the text: without an @, this is where the password is.
  if (port < 1 || port > 65_535) throw new BadUrl(`a port in it is no number from 1 to 65535${hint}`)
  return port
}

const hostsOf = (text: string, given: ReadonlyMap<Parameter, string>): ReadonlyArray<PostgresHost> => {
  const hosts = text.split(",").map((one): readonly [host: string, port: string] => {
    const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/s.exec(one) ?? []
    const host = bracketed ?? plain
    if (host === undefined) throw new BadUrl("a host in it is neither a name nor an address")
    return [percentDecode(host), port ?? ""]
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
        const [name = "", value = ""] = parameter.split(/=(.*)/s).map(percentDecode)
        if (!isParameter(name)) throw new BadUrl(`it has a parameter that is none of ${parameters.join(", ")}`)
        return [name, value] as const
      })
  )

/**
 * Parses `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?sslmode=…` with libpq's parameter names. The error message
 * quotes nothing of the URL, since any part may belong to the password.
 */
export const parsePostgresUrl = (text: string): Either.Either<PostgresTarget, string> =>
  Either.try({
    try: () => {
      const parts = urlPattern.exec(text)
      if (parts === null) throw new BadUrl(`expected postgres://USER:PASSWORD@HOST:PORT/DATABASE${hint}`)
      const [, , login = "", hosts = "", database, query = ""] = parts
      const [user, password] = login.split(/:(.*)/s)
      const given = queryOf(query)
      const secret = given.get("password") ?? decodeOptional(password)
      return {
        redactedUrl: withoutPassword(parts),
        hosts: hostsOf(hosts, given),
        user: given.get("user") ?? decodeOptional(user),
        password: secret === undefined ? undefined : Redacted.make(secret),
        database: given.get("dbname") ?? decodeOptional(database),
        sslMode: oneOf("sslmode", sslModes, given.get("sslmode") ?? "prefer"),
        sslRootCert: given.get("sslrootcert"),
        sslCert: given.get("sslcert"),
        sslKey: given.get("sslkey"),
        sessionAttributes: oneOf(
          "target_session_attrs",
          sessionAttributes,
          // With several servers, all but one are usually standbys.
          given.get("target_session_attrs") ?? (hostsOf(hosts, given).length > 1 ? "read-write" : "any")
        ),
        applicationName: given.get("application_name"),
        options: given.get("options")
      }
    },
    catch: (error) => `not a PostgreSQL URL: ${error instanceof BadUrl ? error.message : "it cannot be read"}`
  })
