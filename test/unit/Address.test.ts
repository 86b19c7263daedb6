import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import { describe, expect, it } from "vitest"
import { Address, formatAddress, isLocal } from "../../src/domain/Address.js"

const decode = Schema.decodeUnknownEither(Address)

const tcp = FastCheck.record({
  host: FastCheck.oneof(FastCheck.domain(), FastCheck.ipV4(), FastCheck.ipV6(), FastCheck.constant("localhost")),
  port: FastCheck.nat(65_535)
})
const unix = FastCheck.record({
  path: FastCheck.string({ unit: "grapheme", minLength: 1 })
    .filter((text) => !/[\r\n\u2028\u2029]/.test(text))
    .map((text) => `/${text}`)
})
const address: FastCheck.Arbitrary<Address> = FastCheck.oneof(tcp, unix)

describe("Address", () => {
  it("decodes what formatAddress prints", () => {
    FastCheck.assert(
      FastCheck.property(address, (address) => {
        expect(decode(formatAddress(address))).toEqual(Either.right(address))
        expect(Schema.encodeSync(Address)(address)).toBe(formatAddress(address))
      })
    )
  })

  it("decodes any text to an address that formats and decodes to itself, or fails with both forms", () => {
    const text = FastCheck.oneof(
      FastCheck.string(),
      FastCheck.tuple(FastCheck.string(), FastCheck.nat(100_000)).map(([host, port]) => `${host}:${port}`),
      FastCheck.string().map((path) => `unix:${path}`)
    )
    FastCheck.assert(
      FastCheck.property(text, (text) => {
        const decoded = decode(text)
        if (Either.isRight(decoded)) expect(decode(formatAddress(decoded.right))).toEqual(decoded)
        else expect(decoded.left.message).toContain("expected HOST:PORT, such as 127.0.0.1:9600, or unix:/PATH, got ")
      })
    )
  })

  it("is local on a Unix socket, on localhost, in 127.0.0.0/8 and on ::1 alone", () => {
    const host = FastCheck.oneof(
      FastCheck.ipV4(),
      FastCheck.ipV4().map((text) => text.replace(/^\d+/, "127"))
    )
    FastCheck.assert(
      FastCheck.property(unix, host, (address, host) => {
        expect(isLocal(address)).toBe(true)
        expect(isLocal({ host, port: 1 })).toBe(host.startsWith("127."))
      })
    )
    for (const host of ["localhost", "::1", "127.9.9.9"]) expect(isLocal({ host, port: 1 })).toBe(true)
    for (const host of ["::", "127.example", "localhost.example"]) expect(isLocal({ host, port: 1 })).toBe(false)
  })
})
