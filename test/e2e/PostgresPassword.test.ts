import { chmodSync } from "node:fs"
import { beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { afterSuite } from "../support/AfterSuite.js"
import { runDaemon, startDaemon } from "../support/Daemon.js"
import { type Home, makeHome } from "../support/Home.js"
import { call } from "../support/HttpJson.js"
import { hasPostgres, needsPostgres, Server } from "../support/PostgresCluster.js"

/** Contains all characters that a URL must percent-encode. */
const password = "it's @ll: 100%/?#"

describe.skipIf(!hasPostgres)(`PostgreSQL that requires a password${needsPostgres}`, () => {
  let server: Server
  const atEnd = afterSuite()
  beforeAll(async () => {
    server = await Server.create(atEnd)
    const [file] = await server.query("SHOW hba_file")
    const rules = ["local all all trust", "host all asked 127.0.0.1/32 scram-sha-256"]
    await server.query(`COPY (SELECT unnest(ARRAY['${rules.join("','")}'])) TO '${file?.["hba_file"]}'`)
    await server.query("SELECT pg_reload_conf()")
    await server.query(`CREATE ROLE asked LOGIN PASSWORD '${password.replace("'", "''")}'`)
  })

  /** The URL of the database for the role, with or without a password. */
  const urlOf = async (given?: string) => {
    const database = await server.database()
    await server.query("CREATE SCHEMA asked AUTHORIZATION asked", { database })
    const login = given === undefined ? "asked" : `asked:${encodeURIComponent(given)}`
    return `postgres://${login}@127.0.0.1:${server.port}/${database}`
  }

  const passFile = (home: Home) => {
    chmodSync(home.write(".pgpass", `127.0.0.1:*:*:asked:${password.replace(/[:\\]/g, "\\$&")}\n`), 0o600)
    return {}
  }

  it.each<[from: string, given: string | undefined, prepare: (home: Home) => Record<string, string>]>([
    ["the URL", password, () => ({})],
    ["the URL, whatever PGPASSWORD says", password, () => ({ PGPASSWORD: "another" })],
    ["PGPASSWORD", undefined, () => ({ PGPASSWORD: password })],
    ["~/.pgpass", undefined, passFile]
  ])("and gets it from %s", async (_, given, prepare) => {
    const home = makeHome(onTestFinished)
    const env = prepare(home)
    const daemon = await startDaemon(home, { args: ["--db", await urlOf(given)], env })
    expect((await call(daemon, "GET", "/v1/health")).status).toBe(200)
    await daemon.stop()
  })

  it("fails immediately with one line if there is none", async () => {
    const { code, stderr } = await runDaemon(makeHome(onTestFinished), { args: ["--db", await urlOf()] })
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^Error: cannot use postgres:\/\/asked@\S+: the server asks for a password, and there is none in the URL, PGPASSWORD or ~\/\.pgpass\n$/
    )
  })

  it("fails with one line, without the password, if it is wrong", async () => {
    const { code, stderr } = await runDaemon(makeHome(onTestFinished), { args: ["--db", await urlOf("wrong-one")] })
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^Error: cannot use postgres:\/\/asked@\S+: password authentication failed for user "asked"\n$/
    )
  })
})
