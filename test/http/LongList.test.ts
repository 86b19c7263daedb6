import * as Net from "node:net"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { runCli } from "../support/Cli.js"
import { startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { withDatabase } from "../support/Sqlite.js"
import { createVm, listVms } from "../support/VmCalls.js"

/** A daemon with so many records that their list is sent in many chunks. */
const startFull = async (home: Home, count: number) => {
  const path = join(home.path, "nexus.db")
  await (await startDaemon(home, { args: ["--db", path] })).stop()
  withDatabase(path, (database) =>
    database.exec(`
      INSERT INTO vms (id, name, role, state, cid, created_at, updated_at, pid)
      WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${count})
      SELECT printf('00000000-0000-4000-8000-%012d', n), 'vm-' || n, iif(n % 4, 'work', 'portal'), 'created', n + 2,
        1000 + n / 7, 1000 + n / 7, iif(n % 3, NULL, n)
      FROM numbers
    `)
  )
  return startDaemon(home, { args: ["--db", path] })
}

/** Requests the list, and stops reading after the first bytes until the test ends. */
const stall = (port: number, atEnd: (dispose: () => void) => void): Promise<Net.Socket> =>
  new Promise((resolve) => {
    const socket = Net.connect(port, "127.0.0.1", () =>
      socket.write(`GET /v1/vms HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`)
    )
    atEnd(() => socket.destroy())
    socket.on("error", () => {})
    socket.once("data", () => resolve(socket.pause()))
  })

describe.concurrent("a long list", () => {
  const count = 20_000

  it("is complete and in order, over HTTP and in nexusctl", async ({ onTestFinished }) => {
    const home = makeHome(onTestFinished)
    const daemon = await startFull(home, count)
    const response = await fetch(`${daemon.url}/v1/vms`)
    expect(response.headers.get("content-type")).toBe("application/json")
    const text = await response.text()
    const vms: ReadonlyArray<{ readonly name: string }> = JSON.parse(text)
    expect(vms.map(({ name }) => name)).toEqual(Array.from({ length: count }, (_, n) => `vm-${count - n}`))
    expect(vms[1]).toStrictEqual({
      id: `00000000-0000-4000-8000-0000000${count - 1}`,
      name: `vm-${count - 1}`,
      role: "work",
      state: "created",
      cid: count + 1,
      vcpu_count: 1,
      mem_size_mib: 128,
      created_at: 1000 + Math.floor((count - 1) / 7),
      updated_at: 1000 + Math.floor((count - 1) / 7)
    })
    // To the byte what JSON has for the same: nothing is doubled, nothing is null.
    expect(text).toBe(JSON.stringify(vms))
    const head = await fetch(`${daemon.url}/v1/vms`, { method: "HEAD" })
    expect({ status: head.status, text: await head.text() }).toEqual({ status: 200, text: "" })
    const { stdout } = await runCli(home, ["vm", "list", "--role", "portal", "--daemon", daemon.address])
    expect(stdout.trimEnd().split("\n")).toHaveLength(1 + count / 4)
  })

  it("waits for slow readers without delaying other requests", async (test) => {
    const { onTestFinished } = test
    // More than the socket buffers of both sides hold.
    const many = 5 * count
    const daemon = await startFull(makeHome(onTestFinished), many)
    const stalled = await Promise.all(Array.from({ length: 4 }, () => stall(daemon.port, onTestFinished)))
    await createVm(daemon, "new")
    expect(await fetch(`${daemon.url}/v1/vms/new`)).toMatchObject({ status: 200 })
    expect(await fetch(`${daemon.url}/v1/vms?limit=3`)).toMatchObject({ status: 200 })

    // A fifth long list waits until one of those has ended, here because its caller hangs up.
    const fifth = listVms(daemon)
    // Too short a time proves less, but is no failure.
    expect(await Promise.race([fifth, new Promise((resolve) => setTimeout(resolve, 300, "waiting"))])).toBe("waiting")
    stalled[0]?.destroy()
    expect(await fifth).toHaveLength(many + 1)

    // A client that reads on gets the rest of the same snapshot.
    const slow = stalled[1]
    const rest = await new Promise<string>((resolve) => {
      let text = ""
      slow?.setEncoding("latin1").on("data", (part: string) => {
        text = `${text}${part}`.slice(-400)
        if (text.endsWith("\r\n0\r\n\r\n")) resolve(text)
      })
      slow?.resume()
    })
    expect(rest).toContain('"name":"vm-1"')

    // After the timeout a request fails with 503, and its permit is free again.
    const again = await Promise.all(Array.from({ length: 2 }, () => stall(daemon.port, onTestFinished)))
    const refused = await fetch(`${daemon.url}/v1/vms`)
    expect(refused.status).toBe(503)
    expect(await refused.json()).toMatchObject({ error: expect.stringContaining("4 long lists are being read") })
    // The timeout releases no permit that was not acquired: the next request fails as well.
    expect((await fetch(`${daemon.url}/v1/vms`)).status).toBe(503)
    for (const socket of [...stalled, ...again]) socket.destroy()
    expect(await listVms(daemon)).toHaveLength(many + 1)
    const { code, stderr } = await daemon.stop()
    expect(code).toBe(0)
    // Nothing but the log's own lines: Node.js warns of listeners that pile up.
    for (const line of stderr.trimEnd().split("\n")) expect(line).toMatch(/^\{.*\}$/)
  })

  it("equals its pages put together", async ({ onTestFinished }) => {
    const daemon = await startFull(makeHome(onTestFinished), count)
    const pages: Array<unknown> = []
    for (let path: string | undefined = "/v1/vms?limit=1000"; path !== undefined; ) {
      const response = await fetch(`${daemon.url}${path}`)
      const page: ReadonlyArray<unknown> = JSON.parse(await response.text())
      expect(page).toHaveLength(1000)
      pages.push(...page)
      path = /^<([^>]+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1]
    }
    expect(pages).toEqual(await listVms(daemon))
  })
})
