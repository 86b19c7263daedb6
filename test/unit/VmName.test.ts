import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import { expect, it } from "vitest"
import { VmName } from "../../src/domain/Vm.js"

const isDnsLabel = (text: string): boolean =>
  text.length >= 1 &&
  text.length <= 63 &&
  Array.from(text).every((character) => "abcdefghijklmnopqrstuvwxyz0123456789-".includes(character)) &&
  !text.startsWith("-") &&
  !text.endsWith("-")

const isUuidShaped = (text: string): boolean => {
  const groups = text.split("-")
  return groups.map(({ length }) => length).join() === "8,4,4,4,12" && /^[0-9a-f]+$/.test(groups.join(""))
}

/** Labels, UUIDs, and texts that differ from them by a character or two. */
const text = FastCheck.oneof(
  FastCheck.string({ unit: FastCheck.constantFrom(..."az09-"), maxLength: 66 }),
  FastCheck.string({ unit: FastCheck.constantFrom(..."az09-"), minLength: 62, maxLength: 65 }),
  FastCheck.string({ unit: FastCheck.constantFrom(..."az09-A_.é\n"), maxLength: 8 }),
  FastCheck.string({ unit: "binary" }),
  FastCheck.uuid(),
  FastCheck.tuple(FastCheck.uuid(), FastCheck.nat(36), FastCheck.constantFrom("", "-", "g", "a")).map(
    ([uuid, index, letter]) => uuid.slice(0, index) + letter + uuid.slice(index + 1)
  )
)

it("a VM name is a DNS label that is not shaped like a UUID; the error states the rule", () => {
  const decode = Schema.decodeUnknownEither(VmName)
  FastCheck.assert(
    FastCheck.property(text, (text) => {
      const decoded = decode(text)
      expect(Either.isRight(decoded)).toBe(isDnsLabel(text) && !isUuidShaped(text))
      if (Either.isLeft(decoded)) {
        for (const part of ["1 to 63 characters of a-z, 0-9 and '-'", "DNS label", "not shaped like a UUID"]) {
          expect(decoded.left.message).toContain(part)
        }
      }
    }),
    { numRuns: 1000 }
  )
})
