import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync
} from "node:fs"
import { dirname, join } from "node:path"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { describe, expect, it, onTestFinished } from "vitest"
import { StoreUnavailable } from "../../src/domain/Errors.js"
import type { Vm } from "../../src/domain/Vm.js"
import { DatabaseOpenError } from "../../src/services/DatabaseOpenError.js"
import * as Database from "../../src/services/sqlite/Database.js"
import { check } from "../../src/services/sqlite/DatabaseFiles.js"
import * as VmStoreSqlite from "../../src/services/sqlite/VmStoreSqlite.js"
import { startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { type Result, start } from "../support/Process.js"
import { programs } from "../support/Programs.js"
import { getVm, listVms } from "../support/Records.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm } from "../support/VmCalls.js"
import { isFull, report, trials } from "./Report.js"

const promise = "7. damage and shortage"
const time = isFull ? 600_000 : 60_000
const seed = Number(process.env["NEXUS_SEED"] ?? Math.floor(Math.random() * 2 ** 31))

/** Random numbers below a bound, the same for the same seed (mulberry32). */
const randomFrom = (state: number) => (below: number) => {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
}
type Random = ReturnType<typeof randomFrom>

const nexusd = (home: Home, ...args: ReadonlyArray<string>): Promise<Result> =>
  start(home, process.execPath, [programs.nexusd, ...args]).ended

/** A database of 300 records that daemons made, closed, and the same as a kill left it: most of it in the log. */
const sample = async (home: Home) => {
  const path = join(home.path, "state/nexus/nexus.db")
  const daemon = await startDaemon(home)
  const vms: Array<Vm> = []
  for (let n = 0; n < 300; n += 20) {
    vms.push(...(await Promise.all(Array.from({ length: 20 }, (_, k) => createVm(daemon, `vm-${n + k}`)))))
  }
  const killed = { main: readFileSync(path), log: readFileSync(`${path}-wal`) }
  await daemon.stop()
  return { path, vms, closed: readFileSync(path), killed }
}

/** A record as a text that is the same for the same record. */
const inOrder = (vm: Vm) => JSON.stringify(Object.entries(vm).sort())

interface Damage {
  readonly what: string
  /** The places in the closed file that are not what they were. */
  readonly places: ReadonlyArray<number>
}

/** Damages one file somewhere. */
const spoil = (path: string, random: Random): Damage => {
  const bytes = readFileSync(path)
  if (random(3) === 0) {
    const size = random(bytes.length)
    truncateSync(path, size)
    return { what: `cut to ${size} of ${bytes.length}`, places: [] }
  }
  const places: Array<number> = []
  const isBit = random(2) === 0
  // Half of all flips go for the first two pages, with the heads and the list of tables.
  for (let n = 1 + random(3); n > 0; n--) {
    const at = random(random(2) === 0 ? Math.min(8192, bytes.length) : bytes.length)
    bytes[at] = (bytes[at] ?? 0) ^ (isBit ? 1 << random(8) : 1 + random(255))
    places.push(at)
  }
  writeFileSync(path, bytes)
  return { what: `${isBit ? "bits" : "bytes"} flipped at ${places}`, places }
}

/**
 * Whether damage hit a record's own cell. SQLite keeps no checksum of what it stores, so a value that was changed where it
 * lies is the one damage that no reader can see.
 */
const hitBy = (whole: Buffer, places: ReadonlyArray<number>) => (vm: Vm) => {
  // A cell is a head of some 25 bytes and, one after the other, id, name, role, state and numbers.
  for (let at = whole.indexOf(`${vm.id}${vm.name}`); at >= 0; at = whole.indexOf(`${vm.id}${vm.name}`, at + 1)) {
    if (places.some((place) => place >= at - 40 && place < at + 100)) return true
  }
  return false
}

const isSound = (path: string): boolean => {
  // SQLite fills up a cut page. That is no loss when the log has the page whole.
  const hasLog = existsSync(`${path}-wal`) && readFileSync(`${path}-wal`).length > 0
  if (!hasLog && readFileSync(path).length % 4096 !== 0) return false
  const copy = join(dirname(path), "copy.db")
  for (const part of ["", "-wal"]) if (existsSync(path + part)) copyFileSync(path + part, copy + part)
  try {
    return withDatabase(copy, (database) => {
      const [first] = database.prepare("PRAGMA integrity_check").all()
      return first?.["integrity_check"] === "ok" && database.prepare("SELECT * FROM vms").all().length >= 0
    })
  } catch {
    return false
  } finally {
    for (const part of ["", "-wal", "-shm"]) rmSync(copy + part, { force: true })
  }
}

const oneLine = (message: string, path: string, say: string) => {
  expect(message, say).not.toMatch(/\n|\.[cm]?[jt]s\b| {4}at /)
  expect(message, say).toContain(path)
}

/** Opens a database as nexusd does and asks for everything: the records, by list, id and name; or why not. */
const ask = (path: string, vms: ReadonlyArray<Vm>) =>
  Effect.gen(function* () {
    const list = yield* Effect.exit(listVms())
    const one = (nameOrId: string) => Effect.exit(getVm(nameOrId))
    const found = yield* Effect.forEach(vms, (vm) => Effect.all({ id: one(vm.id), name: one(vm.name) }))
    return { list, found }
  }).pipe(
    Effect.provide(VmStoreSqlite.layer().pipe(Layer.provideMerge(Database.layer(path)))),
    Effect.either,
    Effect.provide(Logger.remove(Logger.defaultLogger))
  )

/** True when an answer would be a typed 503; a defect, which is answered with 500, is none of the daemon's doing here. */
const expectTyped = (cause: Cause.Cause<unknown>, say: string): boolean => {
  expect(Cause.isInterrupted(cause), say).toBe(false)
  const isTyped = Cause.isFailType(cause) && cause.error instanceof StoreUnavailable
  if (!isTyped) expect(String(Cause.squash(cause)), say).toMatch(/ParseError|Expected|SQLITE/)
  return isTyped
}

describe(`a database damaged at random (NEXUS_SEED=${seed})`, () => {
  const count = trials(200, 15)
  it(`${count} times is refused unchanged, or serves true records or errors`, { timeout: time }, async () => {
    const home = makeHome(onTestFinished)
    const { closed, killed, vms } = await sample(home)
    const known = new Set(vms.map(inOrder))
    const seen = { refused: 0, served: 0, hidden: 0, unserved: 0, lookups: 0 }
    for (let trial = 0; trial < count; trial++) {
      const random = randomFrom(seed + trial)
      const folder = join(home.path, `trial-${trial}`)
      const path = join(folder, "nexus.db")
      mkdirSync(folder)
      const wasKilled = random(4) === 0
      writeFileSync(path, wasKilled ? killed.main : closed)
      if (wasKilled) writeFileSync(`${path}-wal`, killed.log)
      const damaged = wasKilled && random(4) > 0 ? `${path}-wal` : path
      const { places, what } = spoil(damaged, random)
      const say = `NEXUS_SEED=${seed + trial}: ${damaged.slice(folder.length + 1)} ${what}`
      const before = readFileSync(path)
      const log = wasKilled ? readFileSync(`${path}-wal`) : undefined

      const checked = await Effect.runPromise(Effect.either(check(path)))
      expect(checked._tag === "Right" && !isSound(path), `${say}: check said it was sound`).toBe(false)
      if (checked._tag === "Left") oneLine(checked.left.message, path, say)
      expect(readFileSync(path).equals(before), `${say}: check changed it`).toBe(true)

      const isHit = damaged === path ? hitBy(wasKilled ? killed.main : closed, places) : () => false
      const answers = await Effect.runPromise(ask(path, vms))
      if (answers._tag === "Left") {
        expect(answers.left, say).toBeInstanceOf(DatabaseOpenError)
        oneLine(answers.left.message, path, say)
        expect(readFileSync(path).equals(before), `${say}: refused, but changed`).toBe(true)
        if (log !== undefined) expect(readFileSync(`${path}-wal`).equals(log), say).toBe(true)
        seen.refused++
        rmSync(folder, { recursive: true })
        continue
      }
      seen.served++
      const { found, list } = answers.right
      const hits = vms.filter(isHit)
      if (list._tag === "Success") {
        const strange = list.value.filter((vm) => !known.has(inOrder(vm)))
        seen.hidden += strange.length
        expect(
          strange.length,
          `${say}: a record that never was: ${strange.slice(0, 2).map(inOrder)}`
        ).toBeLessThanOrEqual(hits.length)
        // What is lost with a cut log was committed last.
        if (!wasKilled && damaged === path) {
          const listed = new Set(list.value.map(({ id }) => id))
          expect(
            vms.filter((vm) => !listed.has(vm.id) && !isHit(vm)),
            `${say}: missing`
          ).toEqual([])
        }
      } else if (!expectTyped(list.cause, say)) seen.unserved++
      for (const [index, vm] of vms.entries()) {
        for (const exit of Object.values(found[index] ?? {})) {
          if (exit._tag === "Success") {
            if (!isHit(vm)) expect(exit.value, say).toEqual(vm)
          } else if (!Cause.isFailType(exit.cause) || exit.cause.error._tag !== "NotFound") expectTyped(exit.cause, say)
          else if (!isHit(vm) && !wasKilled) {
            // The way to it is broken: no index tells that, the full check does.
            seen.lookups++
            expect(checked._tag, `${say}: ${vm.name} is not found, and check finds nothing`).toBe("Left")
          }
        }
      }
      rmSync(folder, { recursive: true })
    }
    report({
      promise,
      trials: `${count} truncations and flips of a database of ${vms.length} records, or of its log`,
      asserted:
        "refused in one line with every byte as it was, or true records and typed errors; check agrees with SQLite",
      result:
        `${seen.refused} refused, ${seen.served} served; ${seen.hidden} values changed where they lie, which SQLite can't ` +
        `see; ${seen.lookups} look-ups missed, which the full check reports; ${seen.unserved} lists answered 503`
    })
  })

  it("is treated the same by the shipped programs", { timeout: time }, async () => {
    const home = makeHome(onTestFinished)
    const { closed, path, vms } = await sample(home)
    for (let trial = 0; trial < trials(20, 4); trial++) {
      writeFileSync(path, closed)
      const { places, what } = spoil(path, randomFrom(seed + 100_000 + trial))
      const say = `NEXUS_SEED=${seed}, trial ${trial}: ${what}`
      const before = readFileSync(path)
      const checked = await nexusd(home, "check")
      if (checked.code === 0) expect(isSound(path), say).toBe(true)
      else expect(checked, say).toEqual({ code: 1, stdout: "", stderr: expect.stringMatching(/^Error: [^\n]+\n$/) })
      const daemon = await startDaemon(home).catch((error: Error) => error.message)
      if (typeof daemon === "string") {
        expect(daemon, say).toMatch(/^nexusd ended with 1: Error: [^\n]+\n$/)
        expect(readFileSync(path).equals(before), say).toBe(true)
      } else {
        const { body, status } = await call(daemon, "GET", "/v1/vms")
        if (status === 200) {
          const isHit = hitBy(closed, places)
          for (const vm of vms) if (!isHit(vm)) expect(body, say).toContainEqual(vm)
        } else expect({ status, body }, say).toMatchObject({ status: 503, body: { error: expect.any(String) } })
        await daemon.stop()
        expect(daemon.said.stderr, say).not.toMatch(/^ +at /m)
      }
      for (const part of ["", "-wal", "-shm"]) rmSync(path + part, { force: true })
    }
  })
})

describe(`a database damaged under a running daemon (NEXUS_SEED=${seed})`, () => {
  const rounds = trials(20, 2)
  it(`${rounds} times serves true records or errors, and a restored backup serves again`, {
    timeout: time
  }, async () => {
    const home = makeHome(onTestFinished)
    const { path, vms } = await sample(home)
    const backup = join(home.path, "backup.db")
    expect(await nexusd(home, "backup", backup)).toMatchObject({ code: 0 })
    const seen = { right: 0, errors: 0 }
    for (let round = 0; round < rounds; round++) {
      const random = randomFrom(seed + 200_000 + round)
      const daemon = await startDaemon(home)
      const size = readFileSync(path).length
      const ways: ReadonlyArray<() => string> = [
        () => {
          const at = random(size)
          truncateSync(path, at)
          return `cut to ${at}`
        },
        () => {
          writeFileSync(path, Buffer.alloc(size, random(256)))
          return "overwritten"
        },
        () => {
          truncateSync(path, 0)
          return "emptied"
        },
        () => {
          appendFileSync(path, Buffer.alloc(random(10_000), 0xa5))
          return "lengthened"
        }
      ]
      // Half of them have read and written before, so that SQLite knows pages by heart.
      if (random(2) === 0) await createVm(daemon, `fresh-${round}`)
      const say = `NEXUS_SEED=${seed}, round ${round}: ${ways[round % ways.length]?.()}`
      for (let n = 0; n < 30; n++) {
        const vm = vms[random(vms.length)]
        if (vm === undefined) continue
        const { body, status } = await call(daemon, "GET", `/v1/vms/${n % 2 === 0 ? vm.name : vm.id}`)
        if (status === 200) expect(body, say).toEqual(vm)
        else
          expect({ status, body }, say).toMatchObject({
            status: expect.any(Number),
            body: { error: expect.any(String) }
          })
        expect([200, 500, 503], `${say}: ${JSON.stringify(body)}`).toContain(status)
        seen[status === 200 ? "right" : "errors"]++
      }
      for (const [method, target, content] of [
        ["GET", "/v1/vms"],
        ["POST", "/v1/vms", { name: `new-${round}` }],
        ["GET", "/v1/health"]
      ] as const) {
        const { body, status } = await call(daemon, method, target, content)
        if (status >= 400) expect({ status, body }, say).toMatchObject({ body: {} })
        expect([200, 201, 500, 503], say).toContain(status)
      }
      expect((await daemon.stop()).code, say).toBe(0)

      expect(await nexusd(home, "restore", backup), say).toMatchObject({ code: 0, stderr: "" })
      const next = await startDaemon(home)
      expect(((await call(next, "GET", "/v1/vms")).body as ReadonlyArray<Vm>).toReversed(), say).toEqual(vms)
      await next.stop()
      for (const name of readdirSync(dirname(path)).filter((name) => name.includes(".bak"))) {
        rmSync(join(dirname(path), name))
      }
    }
    report({
      promise,
      trials: `${rounds} times cut, overwritten, emptied or lengthened under a running daemon`,
      asserted: "true records or 5xx in JSON, no crash; a backup put back serves all of them",
      result: `${seen.right} right answers, ${seen.errors} errors, 0 wrong`
    })
  })
})
