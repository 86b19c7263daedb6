/**
 * A request but for its Host, which the load generator adds.
 *
 * @param {string} method
 * @param {string} path
 * @param {string} [body]
 */
const format = (method, path, body) => {
  const content = body === undefined ? "" : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`
  return `${method} ${path} HTTP/1.1\r\n${content}\r\n${body ?? ""}`
}

/** @param {number} index */
export const nameOf = (index) => `vm-${String(index).padStart(6, "0")}`

export const listRequest = format("GET", "/v1/vms")

/** @param {string} path with its query */
export const pageRequest = (path) => format("GET", path)

/** @param {number} size of the ready answer */
export const readyRequest = (size) => format("GET", `/ready/${size}`)

/**
 * GETs of the records that `seed` made, spread over all of them.
 *
 * @param {number} records
 */
export const getRequests = (records) =>
  Array.from({ length: Math.min(records, 1000) }, (_, index) =>
    format("GET", `/v1/vms/${nameOf(Math.floor((index * records) / Math.min(records, 1000)))}`)
  )

let created = 0

/**
 * POSTs of names that were not used before, and the DELETEs of the same names.
 *
 * @param {number} count
 */
export const createRequests = (count) => {
  const names = Array.from({ length: count }, () => `new-${++created}`)
  return {
    creates: names.map((name) => format("POST", "/v1/vms", JSON.stringify({ name }))),
    deletes: names.map((name) => format("DELETE", `/v1/vms/${name}`))
  }
}
