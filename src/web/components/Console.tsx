import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { useEffect, useRef, useState } from "preact/hooks"
import type { Vm } from "../../domain/Vm.js"
import { makeConsoleText } from "../state/ConsoleText.js"
import { attempt, messageOf, runtime } from "../state/Daemon.js"
import { isVisible } from "../state/Visibility.js"

/** Lines of the log that are read when it is opened. */
const tail = 1_000

/** Reads a log and what the guest adds to it, until the VM stops or the component is removed. */
const follow = (id: string, onText: (text: string) => void) => {
  const append = makeConsoleText()
  return attempt((client) =>
    client.logStream({ path: { nameOrId: id }, urlParams: { tail, follow: "true" } }).pipe(
      Effect.flatMap(
        // What comes together is shown together.
        Stream.runForEach((chunk) => Effect.sync(() => onText(append(chunk))))
      )
    )
  )
}

/** A VM's console log, which follows what the guest prints while the end of it is in view. */
export const Console = ({ vm: { id, pid, state } }: { readonly vm: Vm }) => {
  const area = useRef<HTMLTextAreaElement>(null)
  const [text, setText] = useState("")
  const [error, setError] = useState<string>()

  // Each run of the VM is read from its beginning: a start ends nothing of the log before it.
  useEffect(() => {
    if (!isVisible.value) return
    setError(undefined)
    const fiber = runtime.runFork(
      follow(id, setText).pipe(Effect.catchAll((failure) => Effect.sync(() => setError(messageOf(failure)))))
    )
    return () => void runtime.runFork(Fiber.interrupt(fiber))
  }, [id, state, pid, isVisible.value])

  const isAtEnd = useRef(true)
  useEffect(() => {
    if (area.current !== null && isAtEnd.current) area.current.scrollTop = area.current.scrollHeight
  }, [text])

  return (
    <section class="panel" aria-labelledby="console-title">
      <h2 id="console-title">Console</h2>
      {error !== undefined && <p class="error">{error}</p>}
      <textarea
        ref={area}
        class="console"
        aria-labelledby="console-title"
        readOnly
        spellcheck={false}
        placeholder="The guest has printed nothing."
        value={text}
        onScroll={({ currentTarget: { clientHeight, scrollHeight, scrollTop } }) => {
          isAtEnd.current = scrollTop + clientHeight >= scrollHeight - 4
        }}
      />
    </section>
  )
}
