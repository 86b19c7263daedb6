import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { MemSizeMib } from "../../../domain/Vm.js"
import { schemaInfo, valueFromText } from "../../../runtime/SchemaInfo.js"
import { schemaOption } from "../../runner/SchemaOption.js"

/** `512M` as 512, `2G` as 2048. */
const mibWithUnit = (text: string): number | undefined => {
  const [, number, unit] = /^(\d+)([MG])$/i.exec(text) ?? []
  return number === undefined ? undefined : Number(number) * (unit?.toUpperCase() === "G" ? 1024 : 1)
}

const isMib = Schema.is(MemSizeMib)
const decodeMib = ParseResult.decodeUnknownEither(MemSizeMib)

/** MiB, or a number with a unit. An error shows the text as it was given. */
const Memory = Schema.transformOrFail(
  Schema.String.annotations({
    description: `Memory in MiB${schemaInfo(MemSizeMib).bounds}, or with a unit: 512M, 2G`
  }),
  Schema.Number,
  {
    decode: (text) => {
      const mib = mibWithUnit(text)
      return decodeMib(isMib(mib) ? mib : valueFromText(MemSizeMib, text))
    },
    encode: (mib) => ParseResult.succeed(String(mib))
  }
)

/** `--mem`, with the bounds of the API. */
export const memoryOption = (fallback?: number) => schemaOption("mem", "MIB", Memory, fallback)
