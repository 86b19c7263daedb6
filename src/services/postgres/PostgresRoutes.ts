import { existsSync, readFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import type { ConnectionOptions } from "node:tls"
import type { PostgresHost, PostgresTarget } from "./PostgresUrl.js"

/** One way to reach one server. */
export interface Route extends PostgresHost {
  readonly ssl: false | ConnectionOptions
}

/** TLS that can't be set up as the URL asks; `message` says what to do. */
class BadTls extends Error {}

const read = (file: string): string => {
  try {
    return readFileSync(file, "utf8")
  } catch (cause) {
    throw new BadTls(`cannot read ${file}: ${String(cause)}`)
  }
}

/**
 * TLS as libpq has it, which is not what pg makes of `sslmode`: without a root certificate only the `verify-` modes look
 * at the server's at all; with one every mode checks who signed it, and `verify-full` alone whom it names.
 */
const tlsOf = ({ sslCert, sslKey, sslMode, sslRootCert }: PostgresTarget): ConnectionOptions => {
  const own = join(homedir(), ".postgresql", "root.crt")
  const root = sslRootCert ?? (existsSync(own) ? own : undefined)
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

/** Every way to reach a target's servers, in the order in which libpq tries them. Throws `BadTls`. */
export const routesOf = (target: PostgresTarget): ReadonlyArray<Route> => {
  const tls: Route["ssl"] = target.sslMode === "disable" ? false : tlsOf(target)
  const plain = false as const
  const ways = target.sslMode === "allow" ? [plain, tls] : target.sslMode === "prefer" ? [tls, plain] : [tls]
  // A Unix socket is not encrypted: nobody is in between.
  return target.hosts.flatMap((host) =>
    (host.host.startsWith("/") ? [plain] : ways).map((ssl): Route => ({ ...host, ssl }))
  )
}
