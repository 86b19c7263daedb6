import { existsSync, readFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import type { ConnectionOptions } from "node:tls"
import type { PostgresHost, PostgresTarget } from "../PostgresUrl.js"

/** One server, with or without TLS. */
export interface Route extends PostgresHost {
  readonly ssl: false | ConnectionOptions
}

/** TLS can't be set up as the URL requires; `message` says what to do. */
class BadTls extends Error {}

const read = (file: string): string => {
  try {
    return readFileSync(file, "utf8")
  } catch (cause) {
    throw new BadTls(`cannot read ${file}: ${String(cause)}`)
  }
}

/**
 * TLS options with libpq's meaning of `sslmode`, which pg does not implement. Without a root certificate only the `verify-`
 * modes verify the server's certificate. With one, every mode verifies its chain, and `verify-full` its host name too.
 */
const tlsOptions = ({ sslCert, sslKey, sslMode, sslRootCert }: PostgresTarget): ConnectionOptions => {
  const userRoot = join(homedir(), ".postgresql", "root.crt")
  const root = sslRootCert ?? (existsSync(userRoot) ? userRoot : undefined)
  if (root === "system" && sslMode !== "verify-full") throw new BadTls("sslrootcert=system takes sslmode=verify-full")
  if (root === undefined && sslMode.startsWith("verify-")) {
    throw new BadTls(`sslmode=${sslMode} takes sslrootcert=FILE, or sslrootcert=system with verify-full`)
  }
  return {
    rejectUnauthorized: root !== undefined,
    ...(root === undefined || root === "system" ? {} : { ca: read(root) }),
    ...(sslMode === "verify-full" ? {} : { checkServerIdentity: () => undefined }),
    ...(sslCert === undefined ? {} : { cert: read(sslCert) }),
    ...(sslKey === undefined ? {} : { key: read(sslKey) })
  }
}

/** The routes to a target's servers, in libpq's order. Throws `BadTls`. */
export const routesOf = (target: PostgresTarget): ReadonlyArray<Route> => {
  const tls: Route["ssl"] = target.sslMode === "disable" ? false : tlsOptions(target)
  const plain = false as const
  const variants = target.sslMode === "allow" ? [plain, tls] : target.sslMode === "prefer" ? [tls, plain] : [tls]
  // libpq never encrypts a Unix socket.
  return target.hosts.flatMap((host) =>
    (host.host.startsWith("/") ? [plain] : variants).map((ssl): Route => ({ ...host, ssl }))
  )
}
