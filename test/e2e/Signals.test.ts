import { readdirSync } from "node:fs"
import { describe, it } from "vitest"
import { connect } from "../support/Connection.js"
import { startDaemon } from "../support/Daemon.js"
import { makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm } from "../support/VmCalls.js"

describe.concurrent("signals to nexusd", { timeout: 60_000 }, () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    it(`${signal} finishes the request in flight, closes the database and exits with 0`, async ({
      expect,
      onTestFinished
    }) => {
      const home = makeHome(onTestFinished)
      const daemon = await startDaemon(home)
      await createVm(daemon, "before")
      const connection = await connect(daemon.port, onTestFinished)
      const body = '{"name":"under-way"}'
      const head = `POST /v1/vms HTTP/1.1\r\nHost: ${daemon.address}\r\nContent-Type: application/json\r\n`
      connection.send(`${head}Content-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`)
      // 100 Continue: nexusd has begun to serve the request.
      expect((await connection.answer()).status).toBe(100)
      const stopped = daemon.stop(signal)
      connection.send(body)
      expect((await connection.answer()).status).toBe(201)
      expect((await stopped).code).toBe(0)
      expect(daemon.said.stderr).toContain("nexusd stopped")
      const names = withDatabase(`${home.path}/state/nexus/nexus.db`, (database) =>
        database
          .prepare("SELECT name FROM vms ORDER BY name")
          .all()
          .map((row) => row["name"])
      )
      expect(names).toEqual(["before", "under-way"])
      // SQLite removes the write-ahead log when the last connection is closed.
      expect(readdirSync(`${home.path}/state/nexus`)).toEqual(["nexus.db"])
    })
  }

  it("SIGUSR1 opens no port and stops nothing", async ({ expect, onTestFinished }) => {
    const daemon = await startDaemon(makeHome(onTestFinished))
    daemon.child.kill("SIGUSR1")
    for (let round = 0; round < 20; round++) {
      expect((await call(daemon, "GET", "/v1/health")).status).toBe(200)
    }
    expect((await daemon.stop()).code).toBe(0)
    // Node.js says so when it opens its inspector, or can't.
    expect(daemon.said.stderr).not.toMatch(/debugger|inspector/i)
  })
})
