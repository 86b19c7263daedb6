import * as Http from "node:http"

const agent = new Http.Agent({ keepAlive: true })

/** An answer's status and its body, read as JSON. */
interface JsonAnswer {
  readonly status: number
  readonly body: unknown
}

/** Makes one request over a connection that is kept; `undefined` if it was lost before the whole answer had come. */
export const httpJson = ({ url }: { readonly url: string }, method: string, path: string, content?: object) =>
  new Promise<JsonAnswer | undefined>((resolve) => {
    const headers = content === undefined ? {} : { "content-type": "application/json" }
    const request = Http.request(`${url}${path}`, { agent, method, headers }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part
      })
      response.once("error", () => resolve(undefined))
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, body: text === "" ? undefined : JSON.parse(text) })
      )
    })
    request.once("error", () => resolve(undefined))
    request.end(content === undefined ? undefined : JSON.stringify(content))
  })
