import { useEffect, useRef } from "preact/hooks"
import type { Vm } from "../../domain/Vm.js"
import { connection } from "../state/Connection.js"
import { formatAge, formatMib, formatTime } from "../state/Format.js"
import { journal, vms } from "../state/Inventory.js"
import { now } from "../state/Now.js"
import { listHref } from "../state/Route.js"
import { Console } from "./Console.js"
import { StateBadge } from "./StateBadge.js"
import { Text } from "./Text.js"
import { VmButtons } from "./VmButtons.js"

const formatField = (name: string, value: unknown): string => {
  if (name.endsWith("_at") && typeof value === "number") {
    return `${formatTime(value)} (${formatAge(value, now.value)} ago)`
  }
  if (name === "mem_size_mib" && typeof value === "number") return formatMib(value)
  return typeof value === "string" ? value : JSON.stringify(value)
}

/** JSON text with an indented line for each member, if it is JSON. */
const indentJson = (text: string): string => {
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2)
  } catch {
    return text
  }
}

/** All fields of a record, those of newer daemons included. */
const Fields = ({ vm: { config_json, ...fields } }: { readonly vm: Vm }) => (
  <section class="panel" aria-labelledby="record-title">
    <h2 id="record-title">Record</h2>
    <dl>
      {Object.entries(fields).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            <Text of={formatField(name, value)} />
          </dd>
        </div>
      ))}
    </dl>
    {config_json !== undefined && (
      <>
        <h3 id="config-title">config_json</h3>
        <textarea
          class="config"
          aria-labelledby="config-title"
          readOnly
          wrap="off"
          rows={Math.min(16, indentJson(config_json).split("\n").length)}
          value={indentJson(config_json)}
        />
      </>
    )}
  </section>
)

const Events = ({ id }: { readonly id: string }) => {
  const entries = journal.value.filter((entry) => entry.id === id)
  return (
    <section class="panel" aria-labelledby="events-title">
      <h2 id="events-title">Events since the page was opened</h2>
      {entries.length === 0 && <p class="hint">None yet.</p>}
      <ol class="events">
        {entries.toReversed().map(({ at, event, sequence, summary }) => (
          <li key={sequence}>
            <time>{new Date(at).toLocaleTimeString()}</time> <b>{event}</b> <Text of={summary} />
          </li>
        ))}
      </ol>
    </section>
  )
}

/** One VM: its record, its console log and its events. */
export const VmPage = ({ id }: { readonly id: string }) => {
  const title = useRef<HTMLHeadingElement>(null)
  const vm = vms.value.get(id)
  const isShown = vm !== undefined
  useEffect(() => {
    if (isShown) title.current?.focus()
  }, [id, isShown])
  return (
    <main>
      <p>
        <a href={listHref}>← All VMs</a>
      </p>
      {vm === undefined ? (
        <>
          <h1 ref={title} tabIndex={-1}>
            {connection.value === "connecting" ? "Loading…" : "No such VM"}
          </h1>
          {connection.value === "live" && (
            <p>
              There is no VM with the id <Text of={id} />: it was deleted, or the address is wrong.
            </p>
          )}
        </>
      ) : (
        <>
          <div class="page-head">
            <h1 ref={title} tabIndex={-1}>
              <Text of={vm.name} />
            </h1>
            <StateBadge vm={vm} />
            <VmButtons vm={vm} hasWords />
          </div>
          <div class="columns">
            <Fields vm={vm} />
            <Console vm={vm} />
          </div>
        </>
      )}
      <Events id={id} />
    </main>
  )
}
