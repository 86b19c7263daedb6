/** @typedef {import("./measure-growth.mjs").Growth} Growth */

const width = 720
const height = 440
const plot = { left: 70, right: 600, top: 30, bottom: 380 }

/** These colours are readable on white and on black. @type {ReadonlyArray<readonly ["create" | "get" | "list", string]>} */
const lines = [
  ["list", "#d97706"],
  ["create", "#2f81f7"],
  ["get", "#2da44e"]
]

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10

/** @param {number} exponent */
const tick = (exponent) => (10 ** exponent).toLocaleString("en", { maximumFractionDigits: 6 })

/**
 * @param {number} from
 * @param {number} to
 */
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index)

/**
 * The time of a call by the number of records, both on a logarithmic scale, as an SVG.
 *
 * @param {ReadonlyArray<Growth>} growth
 */
export const chart = (growth) => {
  const times = growth.flatMap(({ create, get, list }) => [create, get, list])
  const sizes = growth.map(({ records }) => Math.log10(records))
  const x = { least: Math.floor(Math.min(...sizes)), most: Math.ceil(Math.max(...sizes)) }
  const y = { least: Math.floor(Math.log10(Math.min(...times))), most: Math.ceil(Math.log10(Math.max(...times))) }
  /** @param {number} exponent */
  const across = (exponent) => round(plot.left + ((exponent - x.least) / (x.most - x.least)) * (plot.right - plot.left))
  /** @param {number} exponent */
  const up = (exponent) => round(plot.bottom - ((exponent - y.least) / (y.most - y.least)) * (plot.bottom - plot.top))

  const grid = [
    ...range(x.least, x.most).flatMap((exponent) => [
      `<line class="grid" x1="${across(exponent)}" y1="${plot.top}" x2="${across(exponent)}" y2="${plot.bottom}"/>`,
      `<text x="${across(exponent)}" y="${plot.bottom + 20}" text-anchor="middle">${tick(exponent)}</text>`
    ]),
    ...range(y.least, y.most).flatMap((exponent) => [
      `<line class="grid" x1="${plot.left}" y1="${up(exponent)}" x2="${plot.right}" y2="${up(exponent)}"/>`,
      `<text x="${plot.left - 8}" y="${up(exponent) + 4}" text-anchor="end">${tick(exponent)}</text>`
    ])
  ]
  const curves = lines.flatMap(([call, colour], index) => {
    const points = growth.map((at) => `${across(Math.log10(at.records))},${up(Math.log10(at[call]))}`)
    const legend = plot.top + 12 + index * 24
    return [
      `<polyline points="${points.join(" ")}" fill="none" stroke="${colour}" stroke-width="2.5"/>`,
      ...points.map((point) => {
        const [cx, cy] = point.split(",")
        return `<circle cx="${cx}" cy="${cy}" r="4" fill="${colour}"/>`
      }),
      `<line x1="${plot.right + 20}" y1="${legend}" x2="${plot.right + 48}" y2="${legend}" stroke="${colour}" stroke-width="2.5"/>`,
      `<text x="${plot.right + 56}" y="${legend + 4}">${call}</text>`
    ]
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    "<title>How create, get and list grow with the number of records</title>",
    "<style>",
    "  text { font: 13px system-ui, sans-serif; fill: #57606a }",
    "  .grid { stroke: #8b949e; stroke-opacity: 0.35 }",
    "  @media (prefers-color-scheme: dark) { text { fill: #c9d1d9 } }",
    "</style>",
    ...grid,
    `<text x="${(plot.left + plot.right) / 2}" y="${height - 14}" text-anchor="middle">records</text>`,
    `<text x="${plot.left - 8}" y="${plot.top - 12}" text-anchor="end">ms</text>`,
    ...curves,
    "</svg>",
    ""
  ].join("\n")
}
