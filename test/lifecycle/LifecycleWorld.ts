import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { CreateVm, type Vm } from "../../src/domain/Vm.js"
import type { HostProcess } from "../../src/domain/VmRun.js"
import type { Host } from "../../src/services/lifecycle/Host.js"
import * as VmLifecycleLive from "../../src/services/lifecycle/VmLifecycleLive.js"
import { VmEvents } from "../../src/services/VmEvents.js"
import { VmLifecycle } from "../../src/services/VmLifecycle.js"
import { type VmSettings, vmSettings } from "../../src/services/VmSettings.js"
import { VmStore } from "../../src/services/VmStore.js"
import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"
import { type MemoryDaemon, MemoryHost, layer as vmmLayer } from "../../src/services/vmm/VmmMemory.js"

/** Changes what a daemon's store answers. */
export type StoreLayer = (store: VmStore["Type"]) => VmStore["Type"]

/** A nexusd without its API. */
export interface TestDaemon {
  readonly lifecycle: VmLifecycle["Type"]
  readonly process: HostProcess
  /** Ends it as SIGTERM does. */
  readonly stop: Effect.Effect<void>
  /** Ends it as SIGKILL does: nothing of it goes on, and nothing is cleaned up. */
  readonly kill: Effect.Effect<void>
}

/** Applies `wrap` to every call of a store. */
const mapCalls = (store: VmStore["Type"], wrap: <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>) =>
  VmStore.of({
    create: (params) => wrap(store.create(params)),
    list: (query) => wrap(store.list(query)),
    listJson: (selection) => wrap(store.listJson(selection)),
    get: (nameOrId) => wrap(store.get(nameOrId)),
    update: (nameOrId, update, precondition) => wrap(store.update(nameOrId, update, precondition)),
    replace: (params, precondition) => wrap(store.replace(params, precondition)),
    delete: (nameOrId, precondition) => wrap(store.delete(nameOrId, precondition)),
    transition: (nameOrId, decide, options) => wrap(store.transition(nameOrId, decide, options)),
    getWithRun: (nameOrId) => wrap(store.getWithRun(nameOrId)),
    running: wrap(store.running),
    runningExcept: (supervisor) => wrap(store.runningExcept(supervisor)),
    databaseId: wrap(store.databaseId)
  })

/** A store of a daemon that can be killed: its calls never return then. */
const killable = (daemon: MemoryDaemon): StoreLayer => {
  const unlessKilled = Effect.suspend(() => (daemon.isKilled ? Effect.interruptible(Effect.never) : Effect.yieldNow()))
  return (store) =>
    mapCalls(store, (call) =>
      unlessKilled.pipe(
        Effect.zipRight(Effect.exit(call)),
        Effect.flatMap((exit) => Effect.zipRight(unlessKilled, exit))
      )
    )
}

export type World = Effect.Effect.Success<ReturnType<typeof makeWorld>>

/** A host with VMMs in memory, one store and a temporary state folder. */
export const makeWorld = (
  storeLayer: (folder: string) => Layer.Layer<VmStore | VmEvents> = () => VmStoreMemory.layer(),
  name = "nexus"
) =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "nexus-life-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const kernel = join(folder, "kernel")
    writeFileSync(kernel, "kernel")
    const stateFolder = join(folder, "state", name)
    const services = yield* Layer.build(storeLayer(folder))
    const store = Context.get(services, VmStore)
    const events = Context.get(services, VmEvents)
    const host = new MemoryHost()
    const alive = new Set<number>()
    let daemons = 0

    const facts = { name: "here", bootId: "boot-1", pidNamespace: "pid:[1]" }
    /** Starts a daemon, and returns once it has adopted all VMs. */
    const startDaemon = (
      options: {
        readonly settings?: Partial<VmSettings>
        readonly facts?: Partial<typeof facts>
        readonly store?: StoreLayer
      } = {}
    ): Effect.Effect<TestDaemon> =>
      Effect.gen(function* () {
        daemons += 1
        const process = { pid: daemons, start_time: daemons }
        alive.add(daemons)
        const memory: MemoryDaemon = { isKilled: false }
        const ownHost: Host = {
          ...facts,
          ...options.facts,
          daemon: process,
          isAlive: ({ pid }) => alive.has(pid)
        }
        const settings = {
          ...vmSettings({ kernel_image: kernel }),
          stopTimeout: Duration.millis(200),
          ...options.settings,
          host: ownHost.name
        }
        const scope = yield* Scope.make()
        const context = yield* VmLifecycleLive.layer(settings, { stateFolder, paths: [] }, ownHost).pipe(
          Layer.provide(vmmLayer(host, memory)),
          Layer.provide(Layer.succeed(VmStore, killable(memory)((options.store ?? ((same) => same))(store)))),
          Layer.provide(Logger.minimumLogLevel(LogLevel.None)),
          Layer.buildWithScope(scope),
          Effect.orDie
        )
        const leave = Effect.sync(() => alive.delete(process.pid))
        return {
          lifecycle: Context.get(context, VmLifecycle),
          process,
          stop: Effect.zipRight(Scope.close(scope, Exit.void), leave),
          kill: Effect.sync(() => {
            memory.isKilled = true
          }).pipe(
            Effect.zipRight(leave),
            Effect.zipRight(Effect.forkDaemon(Scope.close(scope, Exit.void))),
            Effect.asVoid
          )
        }
      })

    const create = (name: string, config?: unknown): Effect.Effect<Vm> =>
      Effect.orDie(
        store.create(CreateVm.make({ name, ...(config !== undefined && { config_json: JSON.stringify(config) }) }))
      )

    return { folder, kernel, stateFolder, store, events, host, startDaemon, create }
  })

export const bootArgs = (kernel: string, boot_args: string) => ({
  "boot-source": { kernel_image_path: kernel, boot_args }
})

export const stopOptions = { force: false, timeout: undefined } as const

/**
 * Fails unless records and processes agree: one process for each record that runs, and no other. An end takes a moment to be
 * stored.
 */
export const assertTrue = ({ host, store }: Pick<World, "host" | "store">) =>
  Effect.gen(function* () {
    const { vms } = yield* store.list({ limit: 1000 })
    const running = yield* store.running
    const shown = vms.filter(({ state }) => state === "running").map(({ id, pid }) => `${id} ${pid}`)
    yield* Effect.try(() => {
      const processes = host.running().map(({ process, spec }) => `${spec.id} ${process.pid}`)
      expect(processes.sort()).toEqual(shown.sort())
      expect(running.map(({ vm }) => `${vm.id} ${vm.pid}`).sort()).toEqual(shown)
      expect(running.filter(({ run }) => run?.phase !== "running" && run?.phase !== "stopping")).toEqual([])
    })
  }).pipe(Effect.retry(Schedule.spaced("5 millis").pipe(Schedule.intersect(Schedule.recurs(400)))), Effect.orDie)
