import { createHash, timingSafeEqual } from "node:crypto"
import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"
import { formatAddress } from "../domain/Address.js"
import { show } from "../domain/Bounds.js"
import { BadRequest, Forbidden, Unauthorized } from "./ApiErrors.js"

/** Who may use the daemon. */
export interface AdmissionPolicy {
  /** Names, with or without a port, under which the daemon may be asked for besides its own address and localhost. */
  readonly allowedHosts: ReadonlyArray<string>
  /** The bearer token (RFC 6750) that every request must carry, if any. */
  readonly token: string | undefined
}

const digest = (text: string) => createHash("sha256").update(text).digest()

/** Compares in a time that tells nothing of the token, not even its length. */
const isToken = (given: string | undefined, token: string): boolean => {
  const credentials = /^Bearer +(\S+) *$/i.exec(given ?? "")?.[1]
  return timingSafeEqual(digest(credentials ?? ""), digest(token)) && credentials !== undefined
}

const ownHostsByConnection = new WeakMap<Socket, ReadonlySet<string>>()

/** The hosts that mean this daemon, on the connection that a request came in by. */
const ownHosts = (socket: Socket): ReadonlySet<string> => {
  const known = ownHostsByConnection.get(socket)
  if (known !== undefined) return known
  const { localAddress = "", localPort = 0 } = socket
  // A dual-stack socket shows IPv4 addresses as ::ffff:a.b.c.d.
  const own = localAddress.replace(/^::ffff:(?=\d+\.)/, "")
  const hosts = [own, "localhost", "127.0.0.1", "::1"].map((host) => formatAddress({ host, port: localPort }))
  ownHostsByConnection.set(socket, new Set(hosts))
  return new Set(hosts)
}

const isAllowedHost = (host: string, request: IncomingMessage, allowed: ReadonlyArray<string>): boolean => {
  return ownHosts(request.socket).has(host) || allowed.includes(host) || allowed.includes(host.replace(/:\d+$/, ""))
}

/** Paths that are read without a token: they tell nothing of the records. */
const openPaths: ReadonlySet<string> = new Set(["/"])

const needsToken = ({ method, url = "" }: IncomingMessage): boolean =>
  !((method === "GET" || method === "HEAD") && openPaths.has(url.split("?", 1)[0] ?? ""))

/**
 * Decides, by its head alone, whether a request may come in; gives back the refusal if not.
 *
 * A page on any site can make the user's browser send requests here. It can't choose their Host, unless its own name
 * resolves to this machine (DNS rebinding: CVE-2018-5702, CVE-2024-28224, CVE-2025-66414), nor hide their Origin (RFC
 * 6454) and Sec-Fetch-Site (W3C Fetch Metadata). No web page reaches a Unix socket, so any Host will do there.
 */
export const admit = (
  request: IncomingMessage,
  { allowedHosts, token }: AdmissionPolicy
): BadRequest | Forbidden | Unauthorized | undefined => {
  const { authorization, origin, "sec-fetch-site": site } = request.headers
  const host = request.headers.host?.toLowerCase()
  const overNetwork = request.socket.localPort !== undefined
  if (host === undefined || (request.headersDistinct["host"]?.length ?? 0) > 1) {
    return new BadRequest({ error: "the Host header must be there, once (RFC 9112, 3.2)" })
  }
  if (overNetwork && !isAllowedHost(host, request, allowedHosts)) {
    return new Forbidden({
      error: `Host ${show(host)} is not this daemon; a name that should be goes into api.allowed_hosts`
    })
  }
  if (origin !== undefined && !(overNetwork && [`http://${host}`, `https://${host}`].includes(origin.toLowerCase()))) {
    return new Forbidden({ error: `requests of web pages from ${show(origin)} are refused` })
  }
  if (site !== undefined && site !== "same-origin" && site !== "none") {
    return new Forbidden({ error: "requests of web pages from other sites are refused" })
  }
  if (token !== undefined && needsToken(request) && !isToken(authorization, token)) {
    return new Unauthorized({ error: "this daemon asks for its token: send it as Authorization: Bearer TOKEN" })
  }
  return undefined
}
