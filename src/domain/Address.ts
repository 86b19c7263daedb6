import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { preview } from "./Schemas.js"

/** An IPv6 host has no brackets. */
const TcpAddress = Schema.Struct({ host: Schema.String, port: Schema.Number })
const UnixAddress = Schema.Struct({ path: Schema.String })

/** Where a daemon listens or is reached: over TCP, or over a Unix socket. */
export type Address = typeof TcpAddress.Type | typeof UnixAddress.Type

const tcp = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:[\]/@?#]+)):(\d{1,5})$/
const unix = /^unix:(\/.+)$/

const parse = (text: string): Address | undefined => {
  const path = unix.exec(text)?.[1]
  if (path !== undefined) return { path }
  const match = tcp.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  return host !== undefined && port <= 65535 ? { host, port } : undefined
}

/** The text of an address: `127.0.0.1:9600`, `[::1]:9600`, `unix:/run/user/1000/nexus.sock`. */
export const formatAddress = (address: Address): string => {
  if ("path" in address) return `unix:${address.path}`
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`
}

/** Reads `HOST:PORT` or `unix:/PATH`. */
export const Address = Schema.transformOrFail(
  Schema.String.annotations({ description: "The daemon's address" }),
  Schema.Union(TcpAddress, UnixAddress),
  {
    strict: true,
    decode: (text, _, ast) => {
      const address = parse(text)
      return address === undefined
        ? ParseResult.fail(
            new ParseResult.Type(
              ast,
              text,
              `expected HOST:PORT, such as 127.0.0.1:9600, or unix:/PATH, got ${preview(text)}`
            )
          )
        : ParseResult.succeed(address)
    },
    encode: (address) => ParseResult.succeed(formatAddress(address))
  }
)

/** Default of nexusd's `api.listen` and of nexusctl's `--daemon`. */
export const defaultAddress: Address = { host: "127.0.0.1", port: 9600 }

/** Whether only programs on this machine can reach the address (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3). */
export const isLocal = (address: Address): boolean =>
  "path" in address || address.host === "localhost" || address.host === "::1" || /^127(\.\d+){3}$/.test(address.host)
