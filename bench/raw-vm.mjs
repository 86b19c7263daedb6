// The least that starts a VM under Firecracker: spawns it and makes the same calls of its API over one connection.
import { spawn } from "node:child_process"
import { closeSync, mkdirSync, openSync } from "node:fs"
import { Agent, request } from "node:http"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

/**
 * @param {Agent} agent
 * @param {string} socketPath
 * @param {string} path
 * @param {object} body
 * @returns {Promise<void>}
 */
const put = (agent, socketPath, path, body) =>
  new Promise((resolve, reject) => {
    const text = JSON.stringify(body)
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) }
    const sent = request({ agent, socketPath, path, method: "PUT", headers }, (response) => {
      response.resume()
      response.once("end", () =>
        response.statusCode === 204 ? resolve() : reject(new Error(`${path}: ${response.statusCode}`))
      )
    })
    sent.once("error", reject)
    sent.end(text)
  })

/**
 * Starts a VM and returns its process once the guest runs.
 *
 * @param {string} folder that does not exist
 * @param {{ id: string, cid: number, kernel: string, bootArgs: string, memory: number }} vm
 */
export const startRawVm = async (folder, { bootArgs, cid, id, kernel, memory }) => {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const socketPath = join(folder, "api.sock")
  const console = openSync(join(folder, "console.log"), "a")
  const args = ["--id", id, "--api-sock", socketPath, "--log-path", join(folder, "vmm.log"), "--level", "Info"]
  const child = spawn("firecracker", args, { detached: true, stdio: ["ignore", console, "ignore"] })
  closeSync(console)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const machine = { vcpu_count: 1, mem_size_mib: memory }
  for (;;) {
    try {
      await put(agent, socketPath, "/machine-config", machine)
      break
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error
      await sleep(1)
    }
  }
  await put(agent, socketPath, "/boot-source", { kernel_image_path: kernel, boot_args: bootArgs })
  await put(agent, socketPath, "/vsock", { guest_cid: cid, uds_path: join(folder, "vsock.sock") })
  await put(agent, socketPath, "/actions", { action_type: "InstanceStart" })
  agent.destroy()
  return child
}
