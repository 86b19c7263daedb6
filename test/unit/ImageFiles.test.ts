import { execFileSync } from "node:child_process"
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Drive } from "../../src/domain/VmConfig.js"
import { assertReadable, identifyDrives } from "../../src/services/lifecycle/ImageFiles.js"

const root = mkdtempSync(join(tmpdir(), "nexus-images-"))
process.on("exit", () => rmSync(root, { recursive: true, force: true }))
const file = (name: string, content = "") => {
  writeFileSync(join(root, name), content)
  return join(root, name)
}
const stateFolder = join(root, "state")
mkdirSync(join(stateFolder, "vms"), { recursive: true })
const own = { stateFolder, paths: [file("nexus.db"), file("token"), join(root, "missing-wal")] }

const drive = (path_on_host: string, is_read_only?: boolean): Drive => ({
  drive_id: "d",
  path_on_host,
  is_root_device: false,
  ...(is_read_only !== undefined && { is_read_only })
})
const identify = (...drives: ReadonlyArray<Drive>) => identifyDrives(drives, own)
const refusal = (...drives: ReadonlyArray<Drive>) =>
  Effect.map(Effect.flip(identify(...drives)), ({ message }) => message)

describe("image files", () => {
  it.effect("have one identity, whatever path leads to them", () =>
    Effect.gen(function* () {
      const disk = file("disk")
      symlinkSync(disk, join(root, "link"))
      linkSync(disk, join(root, "hard"))
      symlinkSync(root, join(root, "folder"))
      const paths = [disk, join(root, "link"), join(root, "hard"), join(root, "folder", "disk")]
      const found = yield* Effect.forEach(paths, (path) => identify(drive(path)))
      expect(new Set(found.map(([one]) => one?.identity)).size).toBe(1)
      expect(found.map(([one]) => one?.path)).toEqual(paths)
      expect((yield* identify(drive(file("other"))))[0]?.identity).not.toBe(found[0]?.[0]?.identity)
      expect(found[0]?.[0]).toMatchObject({ identity: expect.stringMatching(/^file:\d+:\d+$/), is_writable: true })
      expect((yield* identify(drive(disk, true)))[0]?.is_writable).toBe(false)
    })
  )

  it.effect("one file is two drives of a VM only if both are read only", () =>
    Effect.gen(function* () {
      const disk = file("twice")
      const link = join(root, "twice-link")
      symlinkSync(disk, link)
      expect(yield* identify(drive(disk, true), drive(link, true))).toHaveLength(2)
      const words = `${link}: is given as two drives, one of which can be written`
      expect(yield* refusal(drive(disk), drive(link, true))).toBe(words)
      expect(yield* refusal(drive(disk, true), drive(link))).toBe(words)
    })
  )

  it.effect("missing and unusual files are refused, with the path and the reason", () =>
    Effect.gen(function* () {
      const missing = join(root, "missing")
      expect(yield* refusal(drive(missing))).toBe(`${missing}: no such file`)
      expect(yield* refusal(drive(join(file("plain"), "below")))).toBe(`${root}/plain/below: no such file`)
      expect(yield* refusal(drive(root))).toBe(`${root}: expected a regular file or a block device, found a folder`)
      expect(yield* refusal(drive("/dev/zero"))).toBe("/dev/zero: expected a regular file or a block device")
      const fifo = join(root, "fifo")
      execFileSync("mkfifo", [fifo])
      expect(yield* refusal(drive(fifo))).toBe(`${fifo}: expected a regular file or a block device`)
      const loop = join(root, "loop")
      symlinkSync(loop, loop)
      expect(yield* refusal(drive(loop))).toBe(`${loop}: too many symbolic links encountered`)
    })
  )

  it.effect.skipIf(process.geteuid?.() === 0)("a file that may not be written is refused as a drive to write", () =>
    Effect.gen(function* () {
      const disk = file("read-only")
      chmodSync(disk, 0o400)
      expect(yield* refusal(drive(disk))).toBe(`${disk}: permission denied`)
      yield* identify(drive(disk, true))
    })
  )

  it.effect("Nexus's own files are refused, by any name", () =>
    Effect.gen(function* () {
      const inState = join(stateFolder, "vms", "console.log")
      writeFileSync(inState, "")
      symlinkSync(inState, join(root, "own-link"))
      linkSync(inState, join(root, "own-hard"))
      symlinkSync(stateFolder, join(root, "own-folder"))
      linkSync(join(root, "token"), join(root, "token-hard"))
      const paths = ["nexus.db", "token", "own-link", "own-hard", "token-hard", "own-folder/vms/console.log"]
      for (const path of [inState, ...paths.map((name) => join(root, name))]) {
        const words = `${path}: is one of Nexus's own files`
        expect(yield* refusal(drive(path, true))).toBe(words)
        expect((yield* Effect.flip(assertReadable(path, own))).message).toBe(words)
      }
      const beside = `${stateFolder}-2`
      writeFileSync(beside, "")
      linkSync(beside, join(root, "beside-hard"))
      yield* identify(drive(beside), drive(file("free")))
    })
  )
})
