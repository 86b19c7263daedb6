import {
  chmodSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { filesOf, foldersIn, isFolderOf, prepare, remove } from "../../src/services/lifecycle/VmFolder.js"

const root = mkdtempSync(join(tmpdir(), "nexus-folder-"))
process.on("exit", () => rmSync(root, { recursive: true, force: true }))

const id = "0b1f4b0e-4f4e-4c6e-9a57-0a4f6f8f7a11"
const database = "database-1"
let states = 0
/** A state folder and the files of a VM in it. */
const newState = () => {
  states += 1
  const state = join(root, String(states))
  return { state, files: Either.getOrThrow(filesOf(state, id)) }
}
const prepared = (state: string, databaseId = database) => {
  const files = Either.getOrThrow(filesOf(state, id))
  return Effect.scoped(
    Effect.map(prepare(state, files, databaseId), ({ consoleDescriptor, vmmLogDescriptor }) => {
      writeFileSync(consoleDescriptor, "console\n")
      writeFileSync(vmmLogDescriptor, "vmm\n")
      return [consoleDescriptor, vmmLogDescriptor]
    })
  )
}
const refusal = (state: string, databaseId = database) =>
  Effect.map(Effect.flip(prepared(state, databaseId)), ({ message }) => message)

describe("a VM's folder", () => {
  it.effect("is made for its user alone, names its database, and keeps the console log over starts", () =>
    Effect.gen(function* () {
      const { files, state } = newState()
      const descriptors = yield* prepared(state)
      for (const descriptor of descriptors) expect(() => fstatSync(descriptor)).toThrow(/EBADF/)
      for (const path of [state, join(state, "vms"), files.folder]) expect(statSync(path).mode & 0o777).toBe(0o700)
      for (const path of [files.consoleLog, files.vmmLog]) expect(statSync(path).mode & 0o777).toBe(0o600)
      chmodSync(files.folder, 0o755)
      yield* prepared(state)
      expect(statSync(files.folder).mode & 0o777).toBe(0o700)
      expect(readFileSync(files.consoleLog, "utf8")).toBe("console\nconsole\n")
      expect(readFileSync(files.vmmLog, "utf8")).toBe("vmm\n")
      expect(yield* isFolderOf(files.folder, database)).toBe(true)
      expect(yield* isFolderOf(files.folder, "database-2")).toBe(false)
      expect(yield* foldersIn(state)).toEqual([id])
      expect(yield* foldersIn(join(state, "none"))).toEqual([])
    })
  )

  it.effect("loses the sockets of an earlier run", () =>
    Effect.gen(function* () {
      const { files, state } = newState()
      yield* prepared(state)
      const server = createServer()
      yield* Effect.async<void>((resume) => void server.listen(files.apiSocket, () => resume(Effect.void)))
      symlinkSync(files.vmmLog, files.vsockSocket)
      yield* prepared(state)
      expect([existsSync(files.apiSocket), existsSync(files.vsockSocket)]).toEqual([false, false])
      expect(existsSync(files.vmmLog)).toBe(true)
      server.close()
    })
  )

  it("is made from a UUID in lower case alone", () => {
    for (const foreign of ["", "..", "../../etc", "a/b", id.toUpperCase(), `${id}/..`, `${id}\n`, "web"]) {
      expect(Either.getOrThrowWith(Either.flip(filesOf("/state", foreign)), String).message).toBe(
        `its id ${JSON.stringify(foreign)} is not a UUID in lower case, and names no folder`
      )
    }
  })

  it("a path that is too long for a socket is refused, and says what to set", () => {
    const longest = `/${"x".repeat(107 - `/vms/${id}/vsock.sock`.length - 1)}`
    expect(Either.isRight(filesOf(longest, id))).toBe(true)
    expect(Either.getOrThrowWith(Either.flip(filesOf(`${longest}x`, id)), String).message).toContain(
      "longer than the 107 bytes of a socket's path: set XDG_STATE_HOME to a shorter folder"
    )
  })

  it.effect("links and files of others in its place are refused, and nothing behind them is touched", () =>
    Effect.gen(function* () {
      const outside = join(root, "outside")
      mkdirSync(outside)
      const precious = join(outside, "precious")
      writeFileSync(precious, "precious")

      const linkedRoot = newState()
      mkdirSync(linkedRoot.state)
      symlinkSync(outside, join(linkedRoot.state, "vms"))
      expect(yield* refusal(linkedRoot.state)).toBe(
        `${linkedRoot.state}/vms: expected a folder, which is no symbolic link`
      )

      const linkedFolder = newState()
      mkdirSync(join(linkedFolder.state, "vms"), { recursive: true })
      symlinkSync(outside, linkedFolder.files.folder)
      expect(yield* refusal(linkedFolder.state)).toBe(
        `${linkedFolder.files.folder}: expected a folder, which is no symbolic link`
      )

      for (const name of ["consoleLog", "vmmLog"] as const) {
        const { files, state } = newState()
        yield* prepared(state)
        rmSync(files[name])
        symlinkSync(precious, files[name])
        expect(yield* refusal(state)).toBe(`${files[name]}: expected no symbolic link`)
        rmSync(files[name])
        linkSync(precious, files[name])
        expect(yield* refusal(state)).toBe(`${files[name]}: expected no hard link`)
        rmSync(files[name])
        mkdirSync(files[name])
        expect(yield* refusal(state)).toContain(`${files[name]}: `)
        yield* remove(files, database)
      }
      expect(readFileSync(precious, "utf8")).toBe("precious")
    })
  )

  it.effect("of another database is neither used nor removed", () =>
    Effect.gen(function* () {
      const { files, state } = newState()
      yield* prepared(state)
      expect(yield* refusal(state, "database-2")).toBe(`${files.folder}: belongs to a VM of another database`)
      yield* remove(files, "database-2")
      expect(existsSync(files.consoleLog)).toBe(true)
    })
  )

  it.effect("is removed whole, without following a link", () =>
    Effect.gen(function* () {
      const { files, state } = newState()
      yield* prepared(state)
      const outside = join(root, "kept")
      mkdirSync(outside)
      writeFileSync(join(outside, "precious"), "")
      symlinkSync(outside, join(files.folder, "link"))
      yield* remove(files, database)
      expect(existsSync(files.folder)).toBe(false)
      yield* remove(files, database)
      symlinkSync(outside, files.folder)
      writeFileSync(join(outside, "database"), database)
      yield* remove(files, database)
      expect(existsSync(join(outside, "precious"))).toBe(true)
    })
  )
})
