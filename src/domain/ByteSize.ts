import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { preview } from "./Schemas.js"

const units: ReadonlyArray<string> = ["", "KiB", "MiB", "GiB"]
const text = new RegExp(`^(\\d+)(${units.join("|")})$`)

const parse = (size: number | string): number => {
  const [, count, unit = ""] = text.exec(`${size}`) ?? []
  return Number(count) * 1024 ** units.indexOf(unit)
}

/** `16MiB` for a number of bytes. */
export const formatByteSize = (bytes: number): string => {
  const power = units.findLastIndex((_, index) => bytes % 1024 ** index === 0)
  return `${bytes / 1024 ** power}${units[power]}`
}

/** A number of bytes, or a text like `512KiB`, `16MiB` or `1GiB`. */
export const byteSize = (min: number, max: number) =>
  Schema.transformOrFail(Schema.Union(Schema.Number, Schema.String), Schema.Number, {
    strict: true,
    decode: (size, _, ast) => {
      const bytes = parse(size)
      return bytes >= min && bytes <= max
        ? ParseResult.succeed(bytes)
        : ParseResult.fail(
            new ParseResult.Type(
              ast,
              size,
              `expected a size from ${formatByteSize(min)} to ${formatByteSize(max)}, got ${preview(size)}`
            )
          )
    },
    encode: ParseResult.succeed
  })
