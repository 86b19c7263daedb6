import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { type LogReader, openReader, rotatedPath, streamOf } from "../../src/services/lifecycle/ConsoleLog.js"
import { recoverRotation, rotate } from "../../src/services/lifecycle/LogRotation.js"

const folder = mkdtempSync(join(tmpdir(), "nexus-log-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))
let logs = 0
const newLog = (content = "") => {
  logs += 1
  const path = join(folder, `${logs}.log`)
  writeFileSync(path, content)
  return path
}

const readAll = (reader: LogReader): string => {
  const chunks: Array<Uint8Array> = []
  for (let bytes = reader.read(); bytes !== undefined; bytes = reader.read()) chunks.push(bytes)
  return Buffer.concat(chunks).toString("latin1")
}

const rotateNow = (path: string, readers: Iterable<LogReader> = []) =>
  Effect.runPromise(
    rotate(path, () => {
      for (const reader of readers) reader.noticeRotation()
    })
  )

/** As `tail -n` does it. */
const lastLines = (text: string, count: number): string =>
  count === 0 ? "" : (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).slice(-count).join("")

const tail = (path: string, lines: number) => {
  const reader = openReader(path, lines, true)
  reader.finish()
  const text = readAll(reader)
  expect(reader.isFinished()).toBe(true)
  reader.close()
  return text
}

const part = FastCheck.string({ unit: FastCheck.constantFrom("a", "b", "\n", "\r", "\u0000", "\u00ff"), maxLength: 12 })

describe("a console log", () => {
  it("ends with the lines that tail -n would print, also over a rotation and large chunks", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(part, { maxLength: 6 }),
        part,
        FastCheck.nat(20),
        FastCheck.constantFrom(0, 0, 0, 65_530, 200_000),
        async (before, after, lines, padding) => {
          const rotated = before.join("") + "x".repeat(padding)
          const path = newLog()
          appendFileSync(path, rotated, "latin1")
          expect(tail(path, lines)).toBe(lastLines(rotated, lines))
          await rotateNow(path)
          appendFileSync(path, after, "latin1")
          expect(tail(path, lines)).toBe(lastLines(rotated + after, lines))
        }
      ),
      { numRuns: 150 }
    )
  })

  const operations = FastCheck.array(
    FastCheck.oneof(
      FastCheck.record({ write: part }),
      FastCheck.constant("rotate" as const),
      FastCheck.constant("read" as const),
      FastCheck.constant("read" as const)
    ),
    { maxLength: 40 }
  )

  for (const isNotified of [true, false]) {
    const who = isNotified ? "this daemon" : "another daemon"
    it(`is followed without a byte lost or doubled, while ${who} rotates it`, async () => {
      let complete = 0
      await FastCheck.assert(
        FastCheck.asyncProperty(part, FastCheck.nat(3), operations, async (before, lines, steps) => {
          const path = newLog()
          appendFileSync(path, before, "latin1")
          const reader = openReader(path, lines, isNotified)
          let expected = lastLines(before, lines)
          let read = ""
          // A reader that is not notified sees one rotation between two looks.
          let unseen = 0
          for (const step of steps) {
            if (step === "rotate") {
              if (!isNotified && unseen > 0) continue
              await rotateNow(path, isNotified ? [reader] : [])
              unseen += 1
            } else if (step === "read") {
              if (unseen > 8) return void reader.close()
              read += readAll(reader)
              expect(read).toBe(expected)
              unseen = 0
            } else {
              appendFileSync(path, step.write, "latin1")
              expected += step.write
            }
          }
          if (unseen <= 8) {
            read += readAll(reader)
            reader.finish()
            expect(reader.isFinished()).toBe(true)
            expect(read).toBe(expected)
            complete += 1
          }
          reader.close()
        }),
        { numRuns: 200 }
      )
      expect(complete).toBeGreaterThan(100)
    })
  }

  it("finished, it is read to where it ended, also when a rotation follows", async () => {
    const path = newLog("one\ntwo\n")
    const reader = openReader(path, 10, true)
    reader.finish()
    appendFileSync(path, "of the next run\n")
    await rotateNow(path, [reader])
    appendFileSync(path, "more\n")
    expect(readAll(reader)).toBe("one\ntwo\n")
    expect(reader.isFinished()).toBe(true)
    reader.close()
  })

  it("a reader that falls more than eight rotations behind fails, and keeps nothing open", async () => {
    const path = newLog()
    const reader = openReader(path, 0, true)
    for (let count = 0; count < 20; count++) {
      appendFileSync(path, `${count}\n`)
      await rotateNow(path, [reader])
    }
    expect(() => reader.read()).toThrow(/rotated faster than it was read/)
    reader.close()
  })

  it("a reader that missed a rotation of another daemon fails", async () => {
    const path = newLog()
    const reader = openReader(path, 0, false)
    await rotateNow(path)
    // Looked at last before the two rotations, of which the file shows one.
    appendFileSync(path, "lost\n")
    await rotateNow(path)
    const later = Date.now() / 1000 + 1
    utimesSync(rotatedPath(path), later, later)
    expect(() => readAll(reader)).toThrow(/rotated faster than it was read/)
    reader.close()
  })

  it.live("is streamed while a guest writes and the log is rotated", () =>
    Effect.gen(function* () {
      const path = newLog()
      const reader = openReader(path, 0, true)
      const following = yield* Effect.fork(Stream.runCollect(streamOf(path, reader)))
      let expected = ""
      for (let line = 0; line < 200; line++) {
        appendFileSync(path, `line ${line}\n`)
        expected += `line ${line}\n`
        if (line % 30 === 29) yield* rotate(path, reader.noticeRotation)
        yield* Effect.yieldNow()
      }
      reader.finish()
      const chunks = yield* Fiber.join(following)
      expect(Buffer.concat(Chunk.toReadonlyArray(chunks)).toString()).toBe(expected)
      reader.close()
    })
  )
})

describe("a rotation", () => {
  it("moves all into one older file, and replaces that", async () => {
    const path = newLog("first\n")
    await rotateNow(path)
    expect(readFileSync(path, "utf8")).toBe("")
    expect(readFileSync(rotatedPath(path), "utf8")).toBe("first\n")
    appendFileSync(path, "second\n")
    await rotateNow(path)
    expect(readFileSync(rotatedPath(path), "utf8")).toBe("second\n")
    expect(statSync(rotatedPath(path)).mode & 0o777).toBe(0o600)
  })

  it.effect("that was killed is ended: what was copied and emptied stays, an unfinished copy goes", () =>
    Effect.gen(function* () {
      const emptied = newLog("new\n")
      writeFileSync(`${emptied}.1.unfinished`, "the old log\n")
      yield* recoverRotation(emptied)
      expect(tail(emptied, 10)).toBe("the old log\nnew\n")
      const whole = newLog("the whole log\n")
      writeFileSync(`${whole}.1.unfinished`, "the whole")
      yield* recoverRotation(whole)
      expect(tail(whole, 10)).toBe("the whole log\n")
      yield* recoverRotation(whole)
    })
  )

  it.effect("follows no link", () =>
    Effect.gen(function* () {
      const precious = newLog("precious\n")
      const log = join(folder, "linked.log")
      symlinkSync(precious, log)
      expect((yield* Effect.flip(rotate(log, () => {}))).message).toBe(`${log}: expected no symbolic link`)
      const target = newLog("log\n")
      symlinkSync(precious, `${target}.1.unfinished`)
      yield* Effect.ignore(rotate(target, () => {}))
      expect(readFileSync(precious, "utf8")).toBe("precious\n")
      expect(() => openReader(log, 1, true)).toThrow(/expected no symbolic link/)
    })
  )
})
