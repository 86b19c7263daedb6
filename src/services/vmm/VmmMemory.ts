import { closeSync, openSync, writeSync } from "node:fs"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import { StartFailed, VmmUnavailable } from "../../domain/Errors.js"
import type { HostProcess } from "../../domain/VmRun.js"
import { type FoundProcess, type GuestState, type VmEnd, Vmm, type VmmProcess, type VmSpec } from "./Vmm.js"

const crashed = (reason: string): VmEnd => ({ state: "crashed", reason })
export const killed = crashed("killed by SIGKILL")

/** Another descriptor of an open file, which outlives the first. */
const duplicate = (descriptor: number) => openSync(`/proc/self/fd/${descriptor}`, "a")

/** A VMM process in memory and its guest, which obeys the words of its boot arguments that the tests' guest obeys. */
export class MemoryProcess {
  guest: Exclude<GuestState, "unknown"> = "not started"
  /** As after SIGSTOP: nothing is answered. */
  isStopped = false
  readonly ended = Deferred.unsafeMake<VmEnd>(FiberId.none)
  private isEnded = false
  private readonly console: number
  private unprinted = ""

  /** Appends to the file of `spec.consoleDescriptor`. */
  constructor(
    readonly spec: VmSpec,
    readonly process: HostProcess,
    private readonly onEnd: (end: VmEnd) => void
  ) {
    this.console = duplicate(spec.consoleDescriptor)
  }

  /** A process that has ended or was stopped (SIGSTOP) answers nothing. */
  get answers() {
    return !this.isEnded && !this.isStopped
  }

  has(word: string) {
    return this.spec.bootArgs?.split(" ").includes(word) ?? false
  }

  boot() {
    const { bootArgs = "", mem_size_mib, vcpu_count } = this.spec
    this.guest = "running"
    this.print(`GUEST-UP cpus=${vcpu_count} mem=${mem_size_mib - 1} cmdline=${bootArgs}\n`)
    if (this.has("guest=off")) this.end({ state: "stopped", reason: "exit code 0" })
    if (this.has("guest=panic")) {
      this.print("GUEST-PANIC\n")
      this.end(crashed("exit code 1: the guest panicked"))
    }
  }

  /** Prints to the console log. A paused guest prints once it is resumed. */
  print(text: string) {
    this.unprinted += text
    if (this.guest !== "running" || this.isEnded) return
    writeSync(this.console, this.unprinted)
    this.unprinted = ""
  }

  /** Ctrl+Alt+Del, or the power button. */
  powerOff() {
    if (!this.answers || this.guest !== "running" || this.has("guest=deaf")) return
    this.print("GUEST-POWEROFF\n")
    this.end({ state: "stopped", reason: "exit code 0" })
  }

  setPaused(isPaused: boolean) {
    if (this.guest === "not started") return
    this.guest = isPaused ? "paused" : "running"
    if (!isPaused) this.print("")
  }

  /** Ends the process; `killed` as by `kill -9`. */
  end(end: VmEnd) {
    if (this.isEnded) return
    this.isEnded = true
    closeSync(this.console)
    this.onEnd(end)
    Deferred.unsafeDone(this.ended, Effect.succeed(end))
  }
}

/** The VMM processes of a host in memory. Outlives the layers that use it, as processes outlive nexusd. */
export class MemoryHost {
  /** Why no VMM is available. */
  unavailable: string | undefined
  /** Runs before the guest does: fails, delays or never ends a start. */
  beforeGuest: (spec: VmSpec) => Effect.Effect<void, StartFailed> = () => Effect.void
  private readonly processes = new Set<MemoryProcess>()
  /** The ends that a VMM's own log tells, by the VM's folder. */
  private readonly logged = new Map<string, VmEnd>()
  private count = 0

  /** The processes that run, of one VM or of all. */
  running(id?: string): ReadonlyArray<MemoryProcess> {
    return Array.from(this.processes).filter(({ spec }) => id === undefined || spec.id === id)
  }

  find({ pid, start_time }: HostProcess) {
    return this.running().find(({ process }) => process.pid === pid && process.start_time === start_time)
  }

  endOf(folder: string): VmEnd {
    return this.logged.get(folder) ?? crashed("its VMM ended without a word")
  }

  spawn(spec: VmSpec): MemoryProcess {
    this.count += 1
    this.logged.delete(spec.files.folder)
    const started = new MemoryProcess(spec, { pid: 100_000 + this.count, start_time: this.count }, (end) => {
      this.processes.delete(started)
      if (end !== killed) this.logged.set(spec.files.folder, end)
    })
    this.processes.add(started)
    return started
  }
}

const endedEarly = ({ ended }: MemoryProcess) =>
  Effect.flatMap(Deferred.await(ended), ({ reason }) =>
    Effect.fail(new StartFailed({ message: `the VMM ended: ${reason}` }))
  )

/** A nexusd. Once it is killed, what it was doing stays as it is: nothing of it goes on, and nothing is cleaned up. */
export interface MemoryDaemon {
  isKilled: boolean
}

/** `Vmm` without processes, for tests. */
export const layer = (host: MemoryHost, daemon: MemoryDaemon = { isKilled: false }): Layer.Layer<Vmm> => {
  const whileAlive = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.suspend(() =>
      daemon.isKilled ? Effect.interruptible(Effect.never) : Effect.yieldNow().pipe(Effect.zipRight(effect))
    )
  const act = (use: () => void) => whileAlive(Effect.sync(use))

  const watch = (running: MemoryProcess): VmmProcess => ({
    vmm: "firecracker",
    process: running.process,
    ended: whileAlive(Deferred.await(running.ended)),
    guestState: whileAlive(Effect.sync(() => (running.answers ? running.guest : "unknown"))),
    askToStop: act(() => running.powerOff()),
    kill: act(() => running.end(killed)),
    whilePaused: (use) =>
      Effect.acquireUseRelease(
        whileAlive(
          Effect.suspend(() => {
            if (!running.answers) return Effect.fail(new VmmUnavailable({ message: "the VMM does not answer" }))
            return Effect.sync(() => running.setPaused(true))
          })
        ),
        () => use,
        () => Effect.sync(() => daemon.isKilled || running.setPaused(false))
      ),
    resume: act(() => running.setPaused(false)),
    detach: Effect.void
  })

  const unlessUnavailable = Effect.suspend(() =>
    host.unavailable === undefined ? Effect.void : Effect.fail(new VmmUnavailable({ message: host.unavailable }))
  )

  return Layer.succeed(Vmm, {
    available: Effect.as(unlessUnavailable, "firecracker" as const),
    start: (spec) =>
      unlessUnavailable.pipe(
        Effect.zipRight(
          Effect.acquireUseRelease(
            whileAlive(Effect.sync(() => host.spawn(spec))),
            (spawned) =>
              // A caller's uninterruptible region must not keep the loser of the race.
              Effect.raceFirst(
                Effect.interruptible(host.beforeGuest(spec)),
                Effect.interruptible(endedEarly(spawned))
              ).pipe(Effect.zipRight(whileAlive(Effect.sync(() => spawned.boot()))), Effect.as(watch(spawned))),
            (spawned, exit) =>
              Effect.sync(() => {
                if (exit._tag === "Failure" && !daemon.isKilled) spawned.end(killed)
              })
          )
        )
      ),
    processes: whileAlive(
      Effect.sync(() =>
        host
          .running()
          .map(({ process, spec }): FoundProcess => ({ id: spec.id.toLowerCase(), vmm: "firecracker", process }))
      )
    ),
    attach: ({ process }, files) =>
      whileAlive(
        Effect.sync(() => {
          const running = host.find(process)
          return running === undefined ? ended(process, host.endOf(files.folder)) : watch(running)
        })
      ),
    endOf: (_vmm, { folder }) => Effect.sync(() => host.endOf(folder))
  })
}

/** A process that ended before it was attached to. */
const ended = (process: HostProcess, end: VmEnd): VmmProcess => ({
  vmm: "firecracker",
  process,
  ended: Effect.succeed(end),
  guestState: Effect.succeed("unknown"),
  askToStop: Effect.void,
  kill: Effect.void,
  whilePaused: () => Effect.fail(new VmmUnavailable({ message: "the VMM has ended" })),
  resume: Effect.void,
  detach: Effect.void
})
