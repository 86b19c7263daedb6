import * as Redacted from "effect/Redacted"
import * as Pg from "pg"
import type { PostgresTarget, SessionAttributes } from "../PostgresUrl.js"
import { hasSettings, isOwnSession, isRefusedParameter, OptionsNotPassedOn } from "./Pooler.js"
import { type Route, routesOf } from "./PostgresRoutes.js"

/**
 * Timeouts of a pool. Only a timeout detects a host that lost power, whose sockets stay open, or a paused server, which
 * still accepts connections.
 */
export interface PoolTimeouts {
  /** To acquire a connection: until one is made or released. */
  readonly connectMillis: number
  /** The server's own limit of a statement (`statement_timeout`). */
  readonly statementMillis: number
  /** Until an acquired connection is released. Longer than `statementMillis`, so that only a silent server exceeds it. */
  readonly answerMillis: number
  /** The server's own limit of an idle transaction. nexusd disconnects slow readers earlier, so its program has stopped. */
  readonly idleTransactionMillis: number
}

/** For requests. Clients time out after 5 s, so an outage is reported earlier. */
export const requestTimeouts: PoolTimeouts = {
  connectMillis: 1_500,
  statementMillis: 2_500,
  answerMillis: 3_000,
  idleTransactionMillis: 60_000
}
/** For `nexusd migrate`, whose statements read all records. */
export const transferTimeouts: PoolTimeouts = {
  connectMillis: 5_000,
  statementMillis: 120_000,
  answerMillis: 125_000,
  idleTransactionMillis: 600_000
}

/** Connections for single statements. */
const maxStatements = 10
/** How many of them may be in transactions of several statements. */
export const maxTransactions = 4
/** Connections for streamed lists; a slow reader holds one. */
export const maxSnapshots = 4

const sessionConditions: Readonly<Record<SessionAttributes, string>> = {
  any: "true",
  "read-write": "current_setting('transaction_read_only') = 'off' AND NOT pg_is_in_recovery()",
  primary: "NOT pg_is_in_recovery()"
}

/**
 * pg's pool with failover. pg itself knows one host and no `target_session_attrs`. A new connection takes the current route;
 * when a route fails, the next one becomes current. Connections over another route close as soon as they are idle, so that
 * nothing is written to a failed server after it returns. Each connection is tested for a pooler; once there is one, further
 * connections take their limits per transaction. Throws if TLS can't be set up.
 */
export const makePool = (target: PostgresTarget, timeouts: PoolTimeouts) => {
  const routes = routesOf(target)
  const clients = new Set<Client>()
  let current = 0
  let isPooled = false

  const destroyIdle = (matches: (client: Client) => boolean, reason: string) => {
    for (const client of clients) if (client.isIdle && matches(client)) client.destroy(reason)
  }

  /** Makes the next route current. A server that sent nothing is not tried again with or without TLS. */
  const markFailed = (route: Route, hasResponded: boolean) => {
    if (routes[current] !== route) return
    const following = routes.map((_, step) => (current + 1 + step) % routes.length)
    const isOtherServer = ({ host, port }: Route) => host !== route.host || port !== route.port
    current =
      following.find((index) => {
        const next = routes[index]
        return next !== undefined && (hasResponded || isOtherServer(next))
      }) ?? current
    destroyIdle((client) => client.route !== routes[current], "its route has failed")
  }

  class Client extends Pg.Client {
    readonly route: Route
    isIdle = false
    private processId: number | undefined
    private deadline: NodeJS.Timeout | undefined

    constructor(config?: Pg.ClientConfig) {
      const route = routes[current]
      if (route === undefined) throw new Error("a PostgreSQL URL has a host at least")
      // The pool makes the password non-enumerable, so the spread lacks it.
      const password = config?.password
      super({
        ...config,
        ...(password !== undefined && { password }),
        ...(!isPooled && {
          statement_timeout: timeouts.statementMillis,
          idle_in_transaction_session_timeout: timeouts.idleTransactionMillis
        }),
        host: route.host,
        port: route.port,
        ssl: route.ssl
      })
      this.route = route
      // Without a listener Node.js throws. The statement in flight and the pool report the error.
      this.on("error", () => {})
      let isConnected = false
      this.once("connect", () => {
        isConnected = true
        clients.add(this)
      }).once("end", () => clients.delete(this))
      // These listeners run before pg rejects the connect, so that a retry already takes the next route.
      let hasResponded = false
      this.connection.stream.once("data", () => {
        hasResponded = true
      })
      let isRefused = false
      const failed = () => {
        if (!isConnected && !isRefused) markFailed(route, hasResponded)
      }
      this.connection
        .once("error", failed)
        .once("errorMessage", ({ message }: Error) => {
          isRefused = isRefusedParameter(message)
          if (isRefused) isPooled = true
          failed()
        })
        .once("end", failed)
        .once("backendKeyData", ({ processID }: { readonly processID: number }) => {
          this.processId = processID
        })
    }

    /** SQL condition: no pooler lends this session. */
    get isOwnSession() {
      return isOwnSession(this.processId, timeouts.statementMillis)
    }

    /** Starts the timeout `answerMillis`. It destroys this connection, and idle ones to the same server. */
    startAnswerTimer() {
      this.isIdle = false
      this.deadline ??= setTimeout(() => {
        const reason = "the server did not answer in time"
        this.destroy(reason)
        destroyIdle(({ route }) => route === this.route, reason)
        markFailed(this.route, false)
      }, timeouts.answerMillis)
    }

    stopAnswerTimer() {
      clearTimeout(this.deadline)
      this.deadline = undefined
    }

    destroy(reason: string) {
      this.stopAnswerTimer()
      this.connection.stream.destroy(new Error(reason))
    }
  }

  const types = new Pg.TypeOverrides()
  // Counts and seconds fit into a number.
  types.setTypeParser(Pg.types.builtins.INT8, Number)
  const isClient = (client: Pg.PoolClient): client is Client & Pg.PoolClient => client instanceof Client

  const verify = (client: Pg.PoolClient, done: (error?: Error) => void) => {
    if (!isClient(client)) return done()
    const { isOwnSession, route } = client
    const condition = sessionConditions[target.sessionAttributes]
    client.query<{ isOwn: boolean; isMet: boolean }>(`SELECT ${isOwnSession} AS "isOwn", ${condition} AS "isMet"`).then(
      ({ rows: [row] }) => {
        isPooled ||= row?.isOwn !== true
        if (isPooled && hasSettings(target.options ?? process.env["PGOPTIONS"])) {
          return done(new OptionsNotPassedOn())
        }
        if (row?.isMet) return done()
        markFailed(route, true)
        done(new Error(`${route.host}:${route.port} is not ${target.sessionAttributes}`))
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
    max: maxStatements + maxSnapshots,
    connectionTimeoutMillis: timeouts.connectMillis,
    verify,
    keepAlive: true,
    idleTimeoutMillis: 30_000
  })
  // The pool replaces a broken idle connection on demand.
  pool.on("error", () => {})
  pool.on("acquire", (client) => isClient(client) && client.startAnswerTimer())
  pool.on("release", (_, client) => {
    if (!isClient(client)) return
    client.stopAnswerTimer()
    client.isIdle = true
    if (client.route !== routes[current]) client.destroy("its route has failed")
  })

  return {
    pool,
    isClient,
    routeCount: routes.length,
    /** The route that the next connection takes, as a number. */
    currentRoute: () => current,
    /** Whether a connection was one of a pooler. */
    isPooled: () => isPooled,
    /** Destroys every connection without waiting for the server. */
    destroyAll: () => {
      for (const client of clients) client.destroy("nexusd stops")
    }
  }
}
