import { createHash, timingSafeEqual } from "node:crypto"
import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"
import { formatAddress } from "../../domain/Address.js"
import { preview } from "../../domain/Schemas.js"
import { BadRequest, Forbidden, Unauthorized } from "../HttpErrors.js"
import { countHeader } from "./Headers.js"

/** Who may use the server. */
export interface AccessPolicy {
  /** Values of Host that are allowed besides the server's own addresses and localhost, with or without a port. */
  readonly allowedHosts: ReadonlyArray<string>
  /** The bearer token (RFC 6750) that requests must carry, if any. */
  readonly token: string | undefined
  /** Paths of which GET and HEAD need no token. */
  readonly publicPaths: ReadonlySet<string>
}

const digest = (text: string) => createHash("sha256").update(text).digest()

/** Takes the same time whatever was sent, so that it reveals neither the token nor its length. */
const isToken = (authorization: string | undefined, token: string): boolean => {
  const credentials = /^Bearer +(\S+) *$/i.exec(authorization ?? "")?.[1]
  return timingSafeEqual(digest(credentials ?? ""), digest(token)) && credentials !== undefined
}

const ownHostsBySocket = new WeakMap<Socket, ReadonlySet<string>>()

/** The values of Host that name this server, for the address that a connection came to. */
const ownHosts = (socket: Socket): ReadonlySet<string> => {
  const known = ownHostsBySocket.get(socket)
  if (known !== undefined) return known
  const { localAddress = "", localPort = 0 } = socket
  // A dual-stack socket shows IPv4 addresses as ::ffff:a.b.c.d.
  const own = localAddress.replace(/^::ffff:(?=\d+\.)/, "")
  const hosts = new Set([own, "localhost", "127.0.0.1", "::1"].map((host) => formatAddress({ host, port: localPort })))
  ownHostsBySocket.set(socket, hosts)
  return hosts
}

const isAllowedHost = (host: string, { socket }: IncomingMessage, allowed: ReadonlyArray<string>): boolean =>
  ownHosts(socket).has(host) || allowed.includes(host) || allowed.includes(host.replace(/:\d+$/, ""))

const isPublic = ({ method, url = "" }: IncomingMessage, publicPaths: ReadonlySet<string>): boolean =>
  (method === "GET" || method === "HEAD") && publicPaths.has(url.split("?", 1)[0] ?? "")

/**
 * Decides by its head alone whether a request is allowed; returns the error if not.
 *
 * A page on any site can make the user's browser send requests here. It can't choose their Host, unless its own name
 * resolves to this machine (DNS rebinding: CVE-2018-5702, CVE-2024-28224, CVE-2025-66414), nor hide their Origin (RFC
 * 6454) and Sec-Fetch-Site (W3C Fetch Metadata). No web page reaches a Unix socket, where any Host is allowed.
 */
export const checkAccess = (
  request: IncomingMessage,
  { allowedHosts, publicPaths, token }: AccessPolicy
): BadRequest | Forbidden | Unauthorized | undefined => {
  const { authorization, origin, "sec-fetch-site": site } = request.headers
  const host = request.headers.host?.toLowerCase()
  const isOverNetwork = request.socket.localPort !== undefined
  if (host === undefined || countHeader(request, "host") !== 1) {
    return new BadRequest({ message: "the Host header must be there, once (RFC 9112, 3.2)" })
  }
  if (isOverNetwork && !isAllowedHost(host, request, allowedHosts)) {
    return new Forbidden({
      message: `Host ${preview(host)} is not this daemon; a name that should be goes into api.allowed_hosts`
    })
  }
  if (
    origin !== undefined &&
    !(isOverNetwork && [`http://${host}`, `https://${host}`].includes(origin.toLowerCase()))
  ) {
    return new Forbidden({ message: `requests of web pages from ${preview(origin)} are refused` })
  }
  if (site !== undefined && site !== "same-origin" && site !== "none") {
    return new Forbidden({ message: "requests of web pages from other sites are refused" })
  }
  if (token !== undefined && !isPublic(request, publicPaths) && !isToken(authorization, token)) {
    return new Unauthorized({
      message:
        authorization === undefined
          ? "this daemon asks for its token: send it as Authorization: Bearer TOKEN"
          : "the Authorization header does not hold this daemon's token"
    })
  }
  return undefined
}
