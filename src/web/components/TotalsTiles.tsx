import type { ComponentChildren } from "preact"
import { formatCount, formatMib } from "../state/Format.js"
import { totals } from "../state/Inventory.js"
import { selection } from "../state/ListState.js"
import { Text } from "./Text.js"

interface Part {
  readonly word: string
  readonly value: number
  /** The class that sets the colour. */
  readonly colour: string
}

/** Shares of a whole, side by side. */
const Bar = ({ label, parts }: { readonly label: string; readonly parts: ReadonlyArray<Part> }) => {
  const sum = parts.reduce((total, { value }) => total + value, 0)
  const described = parts.map(({ value, word }) => `${word} ${formatCount(value)}`).join(", ")
  let x = 0
  return (
    <svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" aria-label={`${label}: ${described}`}>
      <rect class="bar-rest" width="100" height="1" />
      {parts.map(({ colour, value, word }) => {
        const width = sum === 0 ? 0 : (value / sum) * 100
        x += width
        return <rect key={word} class={colour} x={x - width} width={width} height="1" />
      })}
    </svg>
  )
}

const Tile = ({
  children,
  className = "",
  figure,
  title
}: {
  readonly className?: string
  readonly title: string
  readonly figure: string
  readonly children: ComponentChildren
}) => (
  <section class={`tile ${className}`} aria-label={title}>
    <h2>{title}</h2>
    <p class="figure">{figure}</p>
    {children}
  </section>
)

/** VMs by the words of a field. Each word is a button that filters the list by it. */
const WordsTile = ({
  counts,
  field,
  figure,
  title
}: {
  readonly title: string
  readonly figure: string
  readonly field: "state" | "role"
  readonly counts: ReadonlyMap<string, number>
}) => {
  const parts = Array.from(counts, ([word, value]) => ({ word, value, colour: `${field}-${word}` }))
  const filtered = selection.value[field]
  return (
    <Tile className="words" title={title} figure={figure}>
      <Bar label={title} parts={parts} />
      <ul class="legend">
        {parts.map(({ colour, value, word }) => (
          <li key={word}>
            <button
              type="button"
              class={`quiet ${colour}`}
              aria-pressed={filtered === word}
              onClick={() => {
                selection.value = { ...selection.value, [field]: filtered === word ? "" : word }
              }}
            >
              <Text of={word} /> <b>{formatCount(value)}</b>
            </button>
          </li>
        ))}
      </ul>
    </Tile>
  )
}

const CommittedTile = ({
  all,
  format,
  running,
  title
}: {
  readonly title: string
  readonly running: number
  readonly all: number
  readonly format: (value: number) => string
}) => (
  <Tile title={title} figure={format(running)}>
    <Bar
      label={title}
      parts={[
        { word: "running", value: running, colour: "state-running" },
        { word: "not running", value: all - running, colour: "bar-rest" }
      ]}
    />
    <p class="hint">running, of {format(all)} in all</p>
  </Tile>
)

/** Totals over all records, as small charts. */
export const TotalsTiles = () => {
  const { count, memoryMib, roles, states, vcpus } = totals.value
  const running = states.get("running") ?? 0
  return (
    <div class="tiles">
      <WordsTile title="VMs by state" figure={`${formatCount(running)} running`} field="state" counts={states} />
      <WordsTile title="VMs by role" figure={`${formatCount(count)} in all`} field="role" counts={roles} />
      <CommittedTile title="Memory committed" {...memoryMib} format={formatMib} />
      <CommittedTile title="vCPUs committed" {...vcpus} format={formatCount} />
    </div>
  )
}
