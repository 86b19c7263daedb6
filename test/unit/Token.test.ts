import { chmodSync } from "node:fs"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readToken } from "../../src/runtime/Token.js"
import { makeHome } from "../support/Home.js"

const limit = 4096

it.effect(`a token file may have ${limit} bytes, and no more`, ({ onTestFinished }) =>
  Effect.gen(function* () {
    const home = makeHome(onTestFinished)
    const token = "t".repeat(limit - 1)
    const file = home.write("token", `${token}\n`)
    chmodSync(file, 0o600)
    expect(yield* readToken(file)).toBe(token)
    home.write("token", `${token}\n\n`)
    expect(yield* Effect.flip(readToken(file))).toMatchObject({
      message: `cannot read the token file ${file}: larger than ${limit} bytes`
    })
  })
)
