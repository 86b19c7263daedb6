import { isFull } from "./Report.js"

/** A part of a request that says where it comes from, and whether a request with it is allowed. */
interface Part {
  readonly what: string
  readonly isAllowed: boolean
}
interface Host extends Part {
  /** Values of its Host headers. */
  readonly hosts: ReadonlyArray<string>
  /** Put before the path in the target. */
  readonly authority?: string
}
interface Field extends Part {
  readonly value: string | undefined
}

/** The daemon's name to a browser: that of the target, else of the Host header. */
const nameOf = ({ authority, hosts }: Host) => authority?.replace(/^http:\/\//, "") ?? hosts[0] ?? ""

const hostsOf = (port: number, allowedName?: string): ReadonlyArray<Host> => {
  const own = `127.0.0.1:${port}`
  const other = port === 65_535 ? 1024 : port + 1
  const allowed = [own, `localhost:${port}`, `[::1]:${port}`, `LocalHost:${port}`]
  const refused = [
    `127.0.0.1:${other}`,
    `localhost:${other}`,
    `[::1]:${other}`,
    "127.0.0.1",
    "localhost",
    "[::1]",
    "evil.example",
    `evil.example:${port}`,
    `EVIL.EXAMPLE:${port}`,
    `127.0.0.1.evil.example:${port}`,
    `evil.example.127.0.0.1:${port}`,
    `localhost.evil.example:${port}`,
    `192.0.2.7:${port}`,
    `0.0.0.0:${port}`,
    `2130706433:${port}`,
    `localhost.:${port}`,
    `${own}@evil.example`,
    `evil.example@${own}`,
    `${own}, evil.example`,
    `${own}/`,
    ""
  ]
  return [
    ...allowed.map((host) => ({ what: `Host ${host}`, hosts: [host], isAllowed: true })),
    ...refused.map((host) => ({ what: `Host ${JSON.stringify(host)}`, hosts: [host], isAllowed: false })),
    { what: "Host own, then evil.example", hosts: [own, "evil.example"], isAllowed: false },
    { what: "Host evil.example, then own", hosts: ["evil.example", own], isAllowed: false },
    { what: "target of evil.example", hosts: [own], authority: `http://evil.example:${port}`, isAllowed: false },
    { what: "target of its own", hosts: [own], authority: `http://${own}`, isAllowed: true },
    { what: "Host nexus.lan", hosts: ["nexus.lan"], isAllowed: allowedName === "nexus.lan" },
    { what: "Host nexus.lan with port", hosts: [`nexus.lan:${port}`], isAllowed: allowedName === "nexus.lan" },
    { what: "Host below nexus.lan", hosts: ["a.nexus.lan"], isAllowed: false }
  ]
}

/** RFC 6454: the page's scheme, name and port. The daemon may stand behind a proxy that speaks TLS for its name. */
const originsOf = (host: Host, port: number): ReadonlyArray<Field> => {
  const name = nameOf(host)
  const elsewhere = /^localhost:/i.test(name) ? `127.0.0.1:${port}` : `localhost:${port}`
  return [
    { what: "no Origin", value: undefined, isAllowed: true },
    { what: "own Origin", value: `http://${name}`, isAllowed: true },
    { what: "own Origin over TLS", value: `https://${name}`, isAllowed: true },
    { what: "foreign Origin", value: "http://evil.example", isAllowed: false },
    { what: "Origin null", value: "null", isAllowed: false },
    { what: "own Origin on another port", value: "http://127.0.0.1:1", isAllowed: false },
    { what: "own Origin under another name", value: `http://${elsewhere}`, isAllowed: false }
  ]
}

const sites: ReadonlyArray<Field> = [undefined, "same-origin", "none", "same-site", "cross-site"].map((value) => ({
  what: value === undefined ? "no Sec-Fetch-Site" : `Sec-Fetch-Site ${value}`,
  value,
  isAllowed: value !== "same-site" && value !== "cross-site"
}))

const types: ReadonlyArray<Field> = [
  { value: "application/json", isAllowed: true },
  { value: "application/json; charset=utf-8", isAllowed: true },
  { value: "text/plain", isAllowed: false },
  { value: "application/x-www-form-urlencoded", isAllowed: false },
  { value: "multipart/form-data; boundary=x", isAllowed: false },
  { value: undefined, isAllowed: false }
].map((type) => ({ ...type, what: type.value ?? "no Content-Type" }))

interface Route {
  readonly method: string
  readonly path: string
  /** The status of a request that is allowed. */
  readonly status: number
  readonly hasBody?: boolean
}

export const routes: ReadonlyArray<Route> = [
  { method: "GET", path: "/v1/vms", status: 200 },
  { method: "POST", path: "/v1/vms", status: 201, hasBody: true },
  { method: "GET", path: "/v1/vms/web", status: 200 },
  { method: "DELETE", path: "/v1/vms/", status: 204 },
  { method: "DELETE", path: "/v1/vms/", status: 204, hasBody: true },
  { method: "GET", path: "/v1/health", status: 200 },
  { method: "GET", path: "/openapi.json", status: 200 },
  { method: "GET", path: "/docs", status: 200 },
  { method: "GET", path: "/unknown", status: 404 },
  { method: "POST", path: "/unknown", status: 404, hasBody: true }
]

export interface Trial {
  readonly what: string
  readonly route: Route
  /** The statuses that are right. */
  readonly statuses: ReadonlyArray<number>
  readonly head: (name: string) => string
}

/** Every combination of a host, an origin, a site, a route and a media type; a part of them at short scale. */
export const trialsOf = (port: number, allowedName?: string): ReadonlyArray<Trial> =>
  hostsOf(port, allowedName).flatMap((host, h) =>
    originsOf(host, port).flatMap((origin, o) =>
      sites.flatMap((site, s) =>
        routes.flatMap((route) =>
          (route.hasBody ? types : [undefined]).flatMap((type, t): ReadonlyArray<Trial> => {
            const others = [o, s, t].filter((index) => index > 0).length
            // At short scale, a host is combined with a few of the other parts, one at a time.
            if (!isFull && (others > 1 || (others === 1 && h > 0 && (h + o + s + t) % 5 > 0))) return []
            const isAllowed = [host, origin, site].every(({ isAllowed }) => isAllowed)
            const statuses = !isAllowed ? [403] : type === undefined || type.isAllowed ? [route.status] : [415]
            const fields: ReadonlyArray<readonly [string, string | undefined]> = [
              ...host.hosts.map((value) => ["Host", value] as const),
              ["Origin", origin.value],
              ["Sec-Fetch-Site", site.value],
              ["Content-Type", type?.value]
            ]
            const lines = fields.flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`]))
            const { method, path } = route
            return [
              {
                what: [`${method} ${path}`, host.what, origin.what, site.what, type?.what].join(", "),
                route,
                // RFC 9112, 3.2: two Host headers are a malformed request.
                statuses: host.hosts.length > 1 ? [400, 403] : statuses,
                head: (name) =>
                  `${method} ${host.authority ?? ""}${path}${path.endsWith("/") ? name : ""} HTTP/1.1\r\n` +
                  `${lines.join("")}Connection: close\r\n`
              }
            ]
          })
        )
      )
    )
  )
