import { connect, type Socket } from "node:net"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** QEMU refused a command, in its own words, or did not answer it. */
export class QmpError extends Data.TaggedError("QmpError")<{
  readonly reason: string
  readonly isUnreachable: boolean
}> {}

/** An answer, the greeting or an event (qmp-spec). */
const Message = Schema.parseJson(
  Schema.Struct({
    id: Schema.optional(Schema.Number),
    QMP: Schema.optional(Schema.Unknown),
    event: Schema.optional(Schema.String),
    return: Schema.optional(Schema.Unknown),
    error: Schema.optional(Schema.Struct({ desc: Schema.String }))
  })
)
const decodeMessage = Schema.decodeUnknownOption(Message)

interface Connection {
  readonly socket: Socket
  readonly answers: Map<number, (answer: Effect.Effect<unknown, QmpError>) => void>
}

const unreachable = (reason: string) => new QmpError({ reason, isUnreachable: true })

const receive = ({ answers }: Connection, line: string, onStop: () => void) => {
  const message = decodeMessage(line)
  if (message._tag === "None") return
  const { error, event, id, QMP: greeting, return: result } = message.value
  if (event === "STOP" || greeting !== undefined) onStop()
  if (id === undefined) return
  answers.get(id)?.(
    error === undefined
      ? Effect.succeed(result)
      : Effect.fail(new QmpError({ reason: error.desc, isUnreachable: false }))
  )
  answers.delete(id)
}

/**
 * QEMU's monitor. It serves one connection at a time, so there is one, made when first needed and kept. It does not keep this
 * process running. `onStop` runs when QEMU may have stopped the guest: at the event STOP, and at each new connection, which
 * has missed earlier events.
 */
export const qmpClient = (path: string, onStop: () => void) => {
  let current: Connection | undefined
  let lastId = 0

  const open = (): Connection => {
    const socket = connect(path).unref().setEncoding("utf8")
    const connection: Connection = { socket, answers: new Map() }
    let reason = "it closed the connection"
    let unread = ""
    socket.on("data", (text: string) => {
      const lines = (unread + text).split("\n")
      unread = lines.pop() ?? ""
      for (const line of lines) receive(connection, line, onStop)
    })
    socket.on("error", (error) => {
      reason = error.message
    })
    socket.once("close", () => {
      if (current === connection) current = undefined
      for (const answer of connection.answers.values()) answer(Effect.fail(unreachable(reason)))
    })
    socket.write(JSON.stringify({ execute: "qmp_capabilities" }))
    return connection
  }

  const connection = () => {
    current ??= open()
    return current
  }

  return {
    /** Sends a command and returns its answer. A command that was interrupted may still be carried out. */
    execute: (command: string) =>
      Effect.async<unknown, QmpError>((resume) => {
        const { answers, socket } = connection()
        lastId += 1
        const id = lastId
        answers.set(id, resume)
        socket.write(JSON.stringify({ execute: command, id }))
        return Effect.sync(() => answers.delete(id))
      }),

    /** Completes when the connection is closed, or could not be made. */
    closed: Effect.async<void>((resume) => {
      const { socket } = connection()
      const onClose = () => resume(Effect.void)
      socket.once("close", onClose)
      return Effect.sync(() => socket.off("close", onClose))
    }),

    close: Effect.sync(() => {
      current?.socket.destroy()
    })
  }
}

export type QmpClient = ReturnType<typeof qmpClient>
