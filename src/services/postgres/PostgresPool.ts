import * as Redacted from "effect/Redacted"
import * as Pg from "pg"
import { type Route, routesOf } from "./PostgresRoutes.js"
import type { PostgresTarget, SessionAttributes } from "./PostgresUrl.js"

/**
 * Times, in milliseconds.
 *
 * A server that is stopped dead leaves its sockets open, and one that is paused still takes connections: neither is
 * heard of but by waiting.
 */
export interface PoolTimeouts {
  /** For a connection: to be made, or to come free. */
  readonly connect: number
  /** For the server to have done with a statement. */
  readonly statement: number
  /** For a connection that was asked something to be done with it: longer, so that only a silent server exceeds it. */
  readonly answer: number
  /** For a transaction that is asked nothing: its program has stopped then, as it cuts slow readers off itself. */
  readonly idleTransaction: number
}

/** For what clients wait for. They give the daemon up after 5 s: by then they have been told. */
export const serving: PoolTimeouts = { connect: 1_500, statement: 2_500, answer: 3_000, idleTransaction: 60_000 }
/** For what goes over all records. */
export const copying: PoolTimeouts = { connect: 5_000, statement: 120_000, answer: 125_000, idleTransaction: 600_000 }

/** Statements at a time, beside the lists that are read piece by piece. */
const statements = 10
/** Lists that are read piece by piece, at a time: a slow reader holds a connection. */
export const snapshots = 4

const asked: Readonly<Record<Exclude<SessionAttributes, "any">, string>> = {
  "read-write": "current_setting('transaction_read_only') = 'off' AND NOT pg_is_in_recovery()",
  primary: "NOT pg_is_in_recovery()"
}

/**
 * pg's pool, over whichever of a target's servers can be reached. pg knows one host alone, and no `target_session_attrs`:
 * here each new connection goes the way that worked last. When that fails, the way after it is the next connection's.
 * Connections that went another way are closed as soon as they are idle, lest a server that was given up be written to
 * when it comes back.
 */
export const makePool = (target: PostgresTarget, patience: PoolTimeouts) => {
  const routes = routesOf(target)
  const living = new Set<Client>()
  let current = 0

  const closeIdle = (isMeant: (client: Client) => boolean, reason: string) => {
    for (const client of living) if (client.isIdle && isMeant(client)) client.abandon(reason)
  }

  /** A server that was not heard of at all need not be tried the other way, with TLS or without. */
  const fail = (route: Route, isHeard: boolean) => {
    if (routes[current] !== route) return
    const ahead = routes.map((_, step) => (current + 1 + step) % routes.length)
    const isElsewhere = ({ host, port }: Route) => host !== route.host || port !== route.port
    current =
      ahead.find((at) => {
        const next = routes[at]
        return next !== undefined && (isHeard || isElsewhere(next))
      }) ?? current
    closeIdle((client) => client.route !== routes[current], "its server was given up")
  }

  class Client extends Pg.Client {
    readonly route: Route
    isIdle = false
    private deadline: NodeJS.Timeout | undefined

    constructor(config?: Pg.ClientConfig) {
      const route = routes[current]
      if (route === undefined) throw new Error("a PostgreSQL URL has a host at least")
      // pg's pool hides the password, so that it is not among what is spread.
      const password = config?.password
      super({
        ...config,
        ...(password !== undefined && { password }),
        host: route.host,
        port: route.port,
        ssl: route.ssl
      })
      this.route = route
      // Whoever has it hears of a break by its statement, and the pool by itself.
      this.on("error", () => {})
      let isConnected = false
      this.once("connect", () => {
        isConnected = true
        living.add(this)
      }).once("end", () => living.delete(this))
      // Heard here before pg tells who waits for the connection, so that another attempt already goes another way.
      let isHeard = false
      this.connection.stream.once("data", () => {
        isHeard = true
      })
      const failed = () => {
        if (!isConnected) fail(route, isHeard)
      }
      this.connection.once("error", failed).once("errorMessage", failed).once("end", failed)
    }

    /**
     * From here on the server has a bounded time. A connection that hangs is of no use to anybody else, and those that
     * are idle will hang too.
     */
    expectAnswer() {
      this.isIdle = false
      this.deadline ??= setTimeout(() => {
        const reason = "the server did not answer in time"
        this.abandon(reason)
        closeIdle(({ route }) => route === this.route, reason)
        fail(this.route, false)
      }, patience.answer)
    }

    answered() {
      clearTimeout(this.deadline)
      this.deadline = undefined
    }

    abandon(reason: string) {
      this.answered()
      this.connection.stream.destroy(new Error(reason))
    }
  }

  const types = new Pg.TypeOverrides()
  // Counts and seconds, all of which a number holds.
  types.setTypeParser(Pg.types.builtins.INT8, Number)
  const isClient = (client: Pg.PoolClient): client is Client & Pg.PoolClient => client instanceof Client

  const verifying = (wanted: string) => (client: Pg.PoolClient, done: (error?: Error) => void) => {
    const route = isClient(client) ? client.route : undefined
    client.query<{ wanted: boolean }>(`SELECT ${wanted} AS wanted`).then(
      ({ rows }) => {
        if (rows[0]?.wanted) return done()
        if (route !== undefined) fail(route, true)
        done(new Error(`${route?.host}:${route?.port} is not ${target.sessionAttributes}`))
      },
      (error: Error) => done(error)
    )
  }

  const pool = new Pg.Pool({
    Client,
    types,
    user: target.user,
    password: target.password && Redacted.value(target.password),
    database: target.database,
    options: target.options,
    application_name: target.applicationName ?? "nexusd",
    max: statements + snapshots,
    connectionTimeoutMillis: patience.connect,
    ...(target.sessionAttributes === "any" ? {} : { verify: verifying(asked[target.sessionAttributes]) }),
    // The server too stops working on what nobody waits for any more.
    statement_timeout: patience.statement,
    idle_in_transaction_session_timeout: patience.idleTransaction,
    keepAlive: true,
    idleTimeoutMillis: 30_000
  })
  // An idle connection that breaks is replaced when it is needed.
  pool.on("error", () => {})
  pool.on("acquire", (client) => isClient(client) && client.expectAnswer())
  pool.on("release", (_, client) => {
    if (!isClient(client)) return
    client.answered()
    client.isIdle = true
    if (client.route !== routes[current]) client.abandon("its server was given up")
  })

  return {
    pool,
    isClient,
    /** How many ways there are, and which of them the next connection goes. */
    ways: routes.length,
    way: () => current,
    /** Ends every connection, however stuck it is. */
    abandonAll: () => {
      for (const client of living) client.abandon("nexusd stops")
    }
  }
}
