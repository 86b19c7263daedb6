import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { StartFailed, VmmUnavailable } from "../../src/domain/Errors.js"
import type { HostProcess } from "../../src/domain/VmRun.js"
import { type FoundProcess, type VmEnd, Vmm, type VmSpec } from "../../src/services/vmm/Vmm.js"
import { guestKernel } from "../support/Vmms.js"
import { consoleText, openVmSpec } from "../support/VmSpecs.js"

/** A VMM under test, and what other programs do to its processes. */
export interface VmmUnderTest {
  /** Another one is another daemon on the same host. */
  readonly layer: () => Layer.Layer<Vmm>
  readonly kill: (process: HostProcess) => void
  readonly pauseProcess: (process: HostProcess) => void
  readonly continueProcess: (process: HostProcess) => void
  /** A guest that triple-faults. */
  readonly panicEnd: VmEnd["state"]
  /** What a real VMM says of files that it can't use. */
  readonly words?: { readonly badKernel: RegExp; readonly missingDrive: RegExp }
}

/** What a process has open. Some of it is closed meanwhile. */
const openFiles = ({ pid }: HostProcess): ReadonlyArray<string> =>
  readdirSync(`/proc/${pid}/fd`).flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${descriptor}`)]
    } catch {
      return []
    }
  })

type Options = Parameters<typeof openVmSpec>[1]

/** The contract of every `Vmm` layer. */
export const vmmContract = (layerName: string, isUsable: boolean, underTest: () => VmmUnderTest) => {
  const { continueProcess, kill, layer, panicEnd, pauseProcess, words } = underTest()
  let parent = ""
  let kernelPath = ""
  beforeAll(() => {
    parent = mkdtempSync(join(tmpdir(), `nexus vmm,"'=-`))
    kernelPath = join(parent, "guest,readonly=on.elf")
    copyFileSync(guestKernel, kernelPath)
  })
  afterAll(() => rmSync(parent, { recursive: true, force: true }))

  const acquireSpec = (options?: Options) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => openVmSpec(parent, { kernelPath, ...options })),
        ({ close }) => Effect.sync(close)
      ),
      ({ spec }) => spec
    )

  /** A VM that is killed at the end of the test. */
  const start = (spec: VmSpec) =>
    Effect.acquireRelease(
      Effect.flatMap(Vmm, (vmm) => vmm.start(spec)),
      ({ kill }) => kill
    )

  const startGuest = (bootArgs: string, options?: Options) =>
    Effect.gen(function* () {
      const spec = yield* acquireSpec({ ...options, bootArgs })
      return { spec, vm: yield* start(spec) }
    })

  const found = (spec: VmSpec) =>
    Effect.flatMap(Vmm, (vmm) => Effect.map(vmm.processes, (all) => all.filter(({ id }) => id === spec.id)))

  const attach = (spec: VmSpec, process: FoundProcess) =>
    Effect.flatMap(Vmm, (vmm) => Effect.acquireRelease(vmm.attach(process, spec.files), ({ detach }) => detach))

  /** Attaches as another daemon does. */
  const adopt = (spec: VmSpec) =>
    Effect.gen(function* () {
      const [process, ...others] = yield* found(spec)
      expect(others).toEqual([])
      if (process === undefined) throw new Error("found no process")
      return yield* attach(spec, process)
    }).pipe(Effect.provide(layer()))

  const untilPrinted = (spec: VmSpec, text: string) =>
    Effect.gen(function* () {
      while (!consoleText(spec).includes(text)) yield* Effect.sleep("5 millis")
      return consoleText(spec)
    })

  /** Neither a process nor a socket. */
  const expectNothingLeft = (spec: VmSpec) =>
    Effect.gen(function* () {
      expect(yield* found(spec)).toEqual([])
      expect([spec.files.apiSocket, spec.files.vsockSocket].filter(existsSync)).toEqual([])
    })

  const test = <E>(name: string, body: () => Effect.Effect<void, E, Vmm | Scope.Scope>) =>
    it.scopedLive(name, () => Effect.provide(body(), layer()))

  describe.skipIf(!isUsable)(`Vmm contract: ${layerName}`, () => {
    test("the guest has the vCPUs, memory and boot arguments of the spec", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf a=1 b", { vcpu_count: 2, mem_size_mib: 256 })
        const text = yield* untilPrinted(spec, "\n")
        expect(text).toMatch(/^GUEST-UP cpus=2 mem=255 cmdline=guest=deaf a=1 b/)
        expect(yield* vm.guestState).toBe("running")
        expect(yield* found(spec)).toEqual([{ id: spec.id, vmm: vm.vmm, process: vm.process }])
      }))

    test("a guest that is asked to stop ends as stopped", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("")
        yield* untilPrinted(spec, "GUEST-UP")
        yield* vm.askToStop
        expect(yield* vm.ended).toMatchObject({ state: "stopped" })
        expect(consoleText(spec)).toContain("GUEST-POWEROFF")
        expect(yield* found(spec)).toEqual([])
        expect(yield* Effect.flatMap(Vmm, (vmm) => vmm.endOf(vm.vmm, spec.files))).toMatchObject({ state: "stopped" })
      }))

    test("a guest that ignores the request to stop can be killed, more than once", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf")
        yield* vm.askToStop
        expect(yield* vm.guestState).toBe("running")
        yield* vm.kill
        yield* vm.kill
        expect(yield* vm.ended).toEqual({ state: "crashed", reason: "killed by SIGKILL" })
        expect(yield* vm.guestState).toBe("unknown")
        expect(yield* found(spec)).toEqual([])
        yield* vm.askToStop
      }))

    test("a guest that ends by itself is stopped", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=off")
        expect(yield* vm.ended).toMatchObject({ state: "stopped" })
        expect(yield* Effect.flatMap(Vmm, (vmm) => vmm.endOf(vm.vmm, spec.files))).toMatchObject({ state: "stopped" })
      }))

    test(`a guest that triple-faults is ${panicEnd}`, () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=panic")
        expect(yield* vm.ended).toMatchObject({ state: panicEnd })
        expect(consoleText(spec)).toContain("GUEST-PANIC")
        expect(yield* Effect.flatMap(Vmm, (vmm) => vmm.endOf(vm.vmm, spec.files))).toMatchObject({ state: panicEnd })
      }))

    test("a VMM that another program kills is crashed", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf")
        kill(vm.process)
        expect(yield* vm.ended).toMatchObject({ state: "crashed" })
        expect(yield* Effect.flatMap(Vmm, (vmm) => vmm.endOf(vm.vmm, spec.files))).toMatchObject({ state: "crashed" })
      }))

    test("another daemon adopts a VM, and stops it", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("")
        yield* untilPrinted(spec, "GUEST-UP")
        yield* vm.detach
        const adopted = yield* adopt(spec)
        expect(adopted.process).toEqual(vm.process)
        expect(yield* adopted.guestState).toBe("running")
        yield* adopted.askToStop
        expect(yield* adopted.ended).toMatchObject({ state: "stopped" })
      }))

    test("a daemon that has detached leaves the VM to run; the next one sees that it was killed", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf")
        yield* vm.detach
        const first = yield* adopt(spec)
        yield* first.detach
        const second = yield* adopt(spec)
        expect(yield* second.guestState).toBe("running")
        kill(vm.process)
        expect(yield* second.ended).toMatchObject({ state: "crashed" })
      }))

    test("an adopted VM can be killed", () =>
      Effect.gen(function* () {
        const { spec } = yield* startGuest("guest=deaf")
        const adopted = yield* adopt(spec)
        yield* adopted.kill
        expect(yield* adopted.ended).toMatchObject({ state: "crashed" })
        expect(yield* found(spec)).toEqual([])
      }))

    test("a process that was found and has ended since is adopted as ended", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf")
        const [process] = yield* found(spec)
        yield* vm.kill
        if (process === undefined) throw new Error("found no process")
        const adopted = yield* attach(spec, process)
        expect(yield* adopted.ended).toMatchObject({ state: "crashed" })
      }))

    test("a stopped process (SIGSTOP) is adopted without an answer, and can be killed", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf")
        yield* vm.detach
        pauseProcess(vm.process)
        const adopted = yield* adopt(spec)
        expect(yield* adopted.guestState).toBe("unknown")
        yield* adopted.askToStop
        const paused = yield* Effect.flip(adopted.whilePaused(Effect.die("was run")))
        expect(paused).toBeInstanceOf(VmmUnavailable)
        yield* adopted.kill
        expect(yield* adopted.ended).toMatchObject({ state: "crashed" })
      }))

    test("a pause that came too late is undone", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf")
        yield* untilPrinted(spec, "GUEST-UP")
        pauseProcess(vm.process)
        yield* Effect.flip(vm.whilePaused(Effect.void))
        continueProcess(vm.process)
        while ((yield* vm.guestState) !== "running") yield* Effect.sleep("20 millis")
      }))

    test("a guest is paused for a while, and resumed whatever happens", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=flood")
        yield* untilPrinted(spec, "GUEST-UP")
        const state = yield* vm.whilePaused(
          Effect.gen(function* () {
            const before = consoleText(spec)
            yield* Effect.sleep("30 millis")
            expect(consoleText(spec)).toBe(before)
            return yield* vm.guestState
          })
        )
        expect(state).toBe("paused")
        expect(yield* vm.guestState).toBe("running")
        expect(yield* Effect.flip(vm.whilePaused(Effect.fail("broken")))).toBe("broken")
        expect(yield* vm.guestState).toBe("running")
        const fiber = yield* Effect.fork(vm.whilePaused(Effect.never))
        while ((yield* vm.guestState) !== "paused") yield* Effect.sleep("5 millis")
        yield* Fiber.interrupt(fiber)
        expect(yield* vm.guestState).toBe("running")
      }))

    test("a guest that a daemon left paused is resumed by the next", () =>
      Effect.gen(function* () {
        const { spec, vm } = yield* startGuest("guest=deaf")
        yield* Effect.fork(vm.whilePaused(Effect.never))
        while ((yield* vm.guestState) !== "paused") yield* Effect.sleep("5 millis")
        yield* vm.detach
        const adopted = yield* adopt(spec)
        expect(yield* adopted.guestState).toBe("paused")
        yield* adopted.resume
        yield* adopted.resume
        expect(yield* adopted.guestState).toBe("running")
      }))

    test("an interrupted start leaves nothing", () =>
      Effect.gen(function* () {
        const vmm = yield* Vmm
        for (const millis of [0, 1, 3, 6, 9, 12, 20]) {
          const spec = yield* acquireSpec()
          const fiber = yield* Effect.fork(vmm.start(spec))
          yield* Effect.sleep(millis)
          yield* Fiber.interrupt(fiber)
          const exit = yield* Fiber.await(fiber)
          if (exit._tag === "Success") yield* exit.value.kill
          else yield* expectNothingLeft(spec)
          expect(yield* found(spec)).toEqual([])
        }
      }))

    test("VMs start side by side, and are told apart", () =>
      Effect.gen(function* () {
        const guests = yield* Effect.all(
          ["guest=deaf a", "guest=deaf b", "guest=deaf c"].map((bootArgs) => startGuest(bootArgs)),
          { concurrency: "unbounded" }
        )
        for (const { spec, vm } of guests) {
          expect(yield* untilPrinted(spec, "\n")).toContain(spec.bootArgs)
          expect(yield* found(spec)).toEqual([{ id: spec.id, vmm: vm.vmm, process: vm.process }])
        }
        const [first, second] = guests
        yield* first?.vm.kill ?? Effect.void
        expect(yield* second?.vm.guestState ?? Effect.void).toBe("running")
      }))

    if (words !== undefined) {
      const expectRefusal = (options: Options, message: RegExp) =>
        Effect.gen(function* () {
          const spec = yield* acquireSpec(options)
          const error = yield* Effect.flip(start(spec))
          expect(error).toBeInstanceOf(StartFailed)
          expect(error.message).toMatch(message)
          yield* expectNothingLeft(spec)
        })

      test("a kernel that the VMM refuses: its words, and nothing left", () =>
        Effect.suspend(() => {
          const notKernel = join(parent, "no kernel")
          writeFileSync(notKernel, "no kernel".repeat(1000))
          return expectRefusal({ kernelPath: notKernel }, words.badKernel)
        }))

      test("a drive that is missing: the VMM's words, and nothing left", () =>
        Effect.suspend(() => {
          const drive = { drive_id: "data", path_on_host: join(parent, "missing,disk.img"), is_root_device: false }
          return expectRefusal({ drives: [drive] }, words.missingDrive)
        }))

      test("drives of any path are attached, the root device named to the kernel", () =>
        Effect.gen(function* () {
          const [data, root] = ["data,readonly=on.img", `root "disk'.img`].map((name) => join(parent, name))
          for (const path of [data, root]) writeFileSync(path ?? "", Buffer.alloc(1024 * 1024))
          const { spec, vm } = yield* startGuest("guest=deaf", {
            drives: [
              { drive_id: "data", path_on_host: data ?? "", is_root_device: false, is_read_only: true },
              { drive_id: "root", path_on_host: root ?? "", is_root_device: true }
            ]
          })
          expect(yield* untilPrinted(spec, "\n")).toMatch(/guest=deaf (.* )?root=\/dev\/vda rw/)
          expect(openFiles(vm.process)).toEqual(expect.arrayContaining([data, root]))
        }))

      test("the VMM has a session, an empty environment, and no descriptors of its parent", () =>
        Effect.gen(function* () {
          const { spec, vm } = yield* startGuest("guest=deaf")
          const proc = (name: string) => join("/proc", String(vm.process.pid), name)
          const link = (name: string) => readlinkSync(proc(name))
          expect(readFileSync(proc("environ"), "utf8")).toBe("")
          expect(link("cwd")).toBe("/")
          expect(link("fd/0")).toBe("/dev/null")
          expect(link("fd/1")).toBe(spec.files.consoleLog)
          expect(link("fd/2")).toBe(spec.files.vmmLog)
          expect(readFileSync(proc("stat"), "utf8").split(") ")[1]?.split(" ")[3]).toBe(String(vm.process.pid))
          const files = readdirSync(proc("fd")).map((descriptor) => link(`fd/${descriptor}`))
          expect(
            files.filter((file) => file.startsWith("/") && !file.startsWith(spec.files.folder))
          ).not.toContainEqual(expect.not.stringMatching(/^\/dev\//))
        }))
    }
  })
}
