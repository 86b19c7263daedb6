const endOfHead = Buffer.from("\r\n\r\n")
const lineFeed = 10

/**
 * Finds the end of each answer on a keep-alive connection (RFC 9112), and reads nothing else: a full HTTP client would be
 * slower than the server it measures.
 */
export class ResponseReader {
  /** @type {"head" | "body" | "chunk size" | "chunk"} */
  #expects = "head"
  /** The beginning of a head or chunk size that arrived in parts. */
  #text = ""
  #remaining = 0
  #status = 0
  #bodyBytes = 0
  #isLast = false
  #onEnd

  /** @param {(status: number, bodyBytes: number) => void} onEnd */
  constructor(onEnd) {
    this.#onEnd = onEnd
  }

  /**
   * @param {Buffer} bytes
   * @param {number} length of the bytes that were read
   */
  read(bytes, length) {
    let at = 0
    while (at < length) {
      if (this.#expects === "head") at = this.#readHead(bytes, at, length)
      else if (this.#expects === "chunk size") at = this.#readChunkSize(bytes, at, length)
      else at = this.#readBody(at, length)
    }
  }

  /**
   * @param {Buffer} bytes
   * @param {number} at
   * @param {number} length
   */
  #readHead(bytes, at, length) {
    const found = this.#text === "" ? bytes.subarray(at, length).indexOf(endOfHead) : -1
    const known = this.#text.length
    const head = this.#text + bytes.toString("latin1", at, found === -1 ? length : at + found + endOfHead.length)
    const end = found === -1 ? head.indexOf("\r\n\r\n") : head.length - endOfHead.length
    if (end === -1) {
      this.#text = head
      return length
    }
    this.#text = ""
    this.#status = Number(head.slice(9, 12))
    this.#bodyBytes = 0
    const fields = head.slice(0, end)
    const announced = /\r\ncontent-length: *(\d+)/i.exec(fields)
    if (announced !== null) this.#expectBody(Number(announced[1]))
    else if (/\r\ntransfer-encoding: *chunked/i.test(fields)) this.#expects = "chunk size"
    else this.#expectBody(0)
    return at + end + endOfHead.length - known
  }

  /** @param {number} bytes */
  #expectBody(bytes) {
    this.#remaining = bytes
    this.#expects = "body"
    if (bytes === 0) this.#end()
  }

  /**
   * @param {Buffer} bytes
   * @param {number} at
   * @param {number} length
   */
  #readChunkSize(bytes, at, length) {
    const found = bytes.indexOf(lineFeed, at)
    const isWhole = found !== -1 && found < length
    this.#text += bytes.toString("latin1", at, isWhole ? found + 1 : length)
    if (!isWhole) return length
    const size = Number.parseInt(this.#text, 16)
    this.#text = ""
    // The line end after a chunk, and after the last one, counts as the chunk's.
    this.#remaining = size + 2
    this.#bodyBytes -= 2
    this.#expects = "chunk"
    this.#isLast = size === 0
    return found + 1
  }

  /**
   * @param {number} at
   * @param {number} length
   */
  #readBody(at, length) {
    const taken = Math.min(this.#remaining, length - at)
    this.#remaining -= taken
    this.#bodyBytes += taken
    if (this.#remaining === 0) {
      if (this.#expects === "body" || this.#isLast) this.#end()
      else this.#expects = "chunk size"
    }
    return at + taken
  }

  #end() {
    this.#expects = "head"
    this.#onEnd(this.#status, this.#bodyBytes)
  }
}
