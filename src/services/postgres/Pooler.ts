import * as Pg from "pg"

/**
 * A pooler (PgBouncer, Odyssey, pgcat, Supavisor) lends nexusd a server's session for one transaction at a time. Nothing of
 * a session outlasts a transaction then: neither settings nor names of statements, session locks, LISTEN or temporary tables.
 */

/** Whether an error refuses a parameter of the startup message, which every supported PostgreSQL accepts. */
export const isRefusedParameter = (message: string): boolean => message.startsWith("unsupported startup parameter")

/**
 * SQL condition: the session is the connection's own. A pooler sends a BackendKeyData of its own, whose process id is not the
 * server's, and its sessions lack the settings of the startup message, also if it accepts and ignores them.
 */
export const isOwnSession = (processId: number | undefined, statementMillis: number): string =>
  processId === undefined
    ? "false"
    : `pg_backend_pid() = ${processId} AND current_setting('statement_timeout')::interval = interval '${statementMillis} ms'`

/** Whether `options` of a URL contains settings, which a pooler can't pass on. Neon takes other words there. */
export const hasSettings = (options: string | undefined): boolean => /(^|\s)-(c|-)/.test(options ?? "")

/** A SQLSTATE, on which nexusd does not try again. */
const featureNotSupported = "0A000"

/** What to do about settings in `options`. */
export const optionsMessage =
  "a connection pooler does not take settings in options: set them with ALTER ROLE … SET, or connect to PostgreSQL itself"

/** A session is needed, and a pooler lends none. A retry can't help. */
export class PooledSession extends Error {
  readonly code = featureNotSupported
  constructor() {
    super("it leads through a connection pooler, and LISTEN takes a connection to PostgreSQL itself")
  }
}

/** `options` has settings, and the connection is a pooler's. */
export class OptionsNotPassedOn extends Error {
  readonly code = featureNotSupported
  constructor() {
    super(optionsMessage)
  }
}

/** pg knows this member, its types don't: a statement without parameters takes the extended protocol too. */
const extended = { queryMode: "extended" }

/**
 * Runs a statement as its own transaction, with a time limit that ends with the transaction. Both are sent at once: statements
 * up to a Sync message are one transaction (PostgreSQL 15, 55.2.3).
 */
export const queryWithLimit = <Row extends Pg.QueryResultRow>(
  client: Pg.ClientBase,
  statement: { readonly text: string; readonly values: Array<unknown> },
  statementMillis: number
): Promise<Pg.QueryResult<Row>> =>
  new Promise((resolve, reject) => {
    const query = new Pg.Query<Row, Array<unknown>>({ ...extended, ...statement }, (error, result) => {
      // pg makes an array of the results of two statements; the limit's is the first.
      const last = [result].flat().at(-1)
      if (last === undefined) reject(error)
      else resolve(last)
    })
    const submit = query.submit
    query.submit = (connection) => {
      connection.stream.cork()
      // The condition sets the limit, and there is no row, which pg would take for one of the statement.
      const text = `SELECT WHERE set_config('statement_timeout', '${statementMillis}', true) IS NULL`
      connection.parse({ name: "", text, types: [] }, true)
      connection.bind({}, true)
      connection.execute({}, true)
      submit.call(query, connection)
      connection.stream.uncork()
    }
    client.query(query)
  })
