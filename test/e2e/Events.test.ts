import { expect, it } from "vitest"
import { startDaemon } from "../support/Daemon.js"
import { openEvents, takeEvents } from "../support/EventStream.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { createVm } from "../support/VmCalls.js"

it("what another daemon on the same file changes is a reset, and nothing that a daemon does itself", async ({
  onTestFinished
}) => {
  const home = makeHome(onTestFinished)
  const [one, two] = [await startDaemon(home), await startDaemon(home)]
  const [atOne, atTwo] = [await openEvents(one), await openEvents(two)]
  for (const stream of [atOne, atTwo]) {
    onTestFinished(stream.close)
    expect(await takeEvents(stream, 1)).toMatchObject([{ event: "ready" }])
  }
  const vm = await createVm(one, "web")
  const [created] = await takeEvents(atOne, 1)
  expect(created?.event).toBe("created")
  expect(JSON.parse(created?.data ?? "")).toEqual(vm)
  expect(await takeEvents(atTwo, 1)).toMatchObject([{ event: "reset", data: "{}" }])

  for (let at = 0; at < 20; at++) expect((await call(one, "GET", "/v1/health")).status).toBe(200)
  await call(two, "PATCH", "/v1/vms/web", { vcpu_count: 2 })
  expect(await takeEvents(atTwo, 1)).toMatchObject([{ event: "updated" }])
  expect(await takeEvents(atOne, 1)).toMatchObject([{ event: "reset" }])
  await createVm(one, "db")
  expect(await takeEvents(atOne, 1)).toMatchObject([{ event: "created" }])
  // One change, one reset.
  expect(await takeEvents(atTwo, 1)).toMatchObject([{ event: "reset" }])
  await createVm(two, "last")
  expect(await takeEvents(atTwo, 1)).toMatchObject([{ event: "created" }])
})

it("streams end when nexusd stops, and the next one does not resume them", async ({ onTestFinished }) => {
  const home = makeHome(onTestFinished)
  const daemon = await startDaemon(home)
  const streams = await Promise.all(Array.from({ length: 200 }, () => openEvents(daemon)))
  const [ready] = await Promise.all(streams.map(async (stream) => (await takeEvents(stream, 1))[0]))
  await createVm(daemon, "web")
  for (const stream of streams) expect(await takeEvents(stream, 1)).toMatchObject([{ event: "created" }])
  const { code } = await daemon.stop()
  expect(code).toBe(0)
  for (const stream of streams) {
    expect(await stream.next()).toBeUndefined()
    // A last chunk would say that no more changes follow.
    expect(stream.isComplete()).toBe(false)
  }
  const next = await startDaemon(home)
  const resumed = await openEvents(next, ready?.id)
  onTestFinished(resumed.close)
  expect(resumed.status).toBe(410)
})
