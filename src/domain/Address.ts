import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { show } from "./Bounds.js"

/** Where a daemon listens or is reached. An IPv6 host is held without its brackets. */
export interface Address {
  readonly host: string
  readonly port: number
}

const pattern = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:[\]/@?#]+)):(\d{1,5})$/

/** `HOST:PORT` as people write it: `127.0.0.1:9600`, `localhost:9600`, `[::1]:9600`. */
export const formatAddress = ({ host, port }: Address): string => `${host.includes(":") ? `[${host}]` : host}:${port}`

/** Reads `HOST:PORT`. */
export const Address = Schema.transformOrFail(
  Schema.String.annotations({ description: "The daemon's address" }),
  Schema.Struct({ host: Schema.String, port: Schema.Number }),
  {
    strict: true,
    decode: (text, _, ast) => {
      const match = pattern.exec(text)
      const host = match?.[1] ?? match?.[2]
      const port = Number(match?.[3])
      return host !== undefined && port <= 65535
        ? ParseResult.succeed({ host, port })
        : ParseResult.fail(
            new ParseResult.Type(ast, text, `expected HOST:PORT, such as 127.0.0.1:9600, got ${show(text)}`)
          )
    },
    encode: (address) => ParseResult.succeed(formatAddress(address))
  }
)

/** Where nexusd listens and nexusctl looks for it, unless told otherwise. */
export const defaultAddress: Address = { host: "127.0.0.1", port: 9600 }
