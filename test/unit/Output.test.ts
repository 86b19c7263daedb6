import * as Arbitrary from "effect/Arbitrary"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { displayWidth } from "../../src/cli/nexusctl/output/DisplayWidth.js"
import { vmDetails } from "../../src/cli/nexusctl/output/Output.js"
import { formatAge, vmTable } from "../../src/cli/nexusctl/output/VmTable.js"
import { Vm } from "../../src/domain/Vm.js"
import { record } from "../support/Records.js"
import { dangerous } from "../support/TerminalTexts.js"

const text = FastCheck.oneof(FastCheck.string({ unit: "binary" }), FastCheck.string({ unit: "grapheme" }))

/** Any record that can be read, with any Unicode in the columns of the table. */
const vm = FastCheck.record({ vm: Arbitrary.make(Vm), name: text, role: text, state: text }).map(
  ({ vm, ...texts }): Vm => ({ ...vm, ...texts })
)
const vms = FastCheck.array(vm, { maxLength: 5 })

describe("vmTable", () => {
  it("begins the last column at the same display column on every line", () => {
    FastCheck.assert(
      FastCheck.property(vms, (vms) => {
        const starts = vmTable(vms).map((line) => displayWidth(line.slice(0, line.lastIndexOf(" ") + 1)))
        expect(new Set(starts).size).toBe(1)
      })
    )
  })

  it("has lines that are no wider than the terminal, and are cut only where they would be", () => {
    const options = FastCheck.record({ isWide: FastCheck.boolean(), hasHeader: FastCheck.boolean() })
    FastCheck.assert(
      FastCheck.property(vms, options, FastCheck.integer({ min: 1, max: 300 }), (vms, options, width) => {
        const lines = vmTable(vms, { ...options, width, now: 0 })
        expect(lines).toHaveLength(vms.length + (options.hasHeader ? 1 : 0))
        for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width)
        const whole = vmTable(vms, { ...options, now: 0 })
        if (whole.every((line) => displayWidth(line) <= width)) {
          const cells = (line: string) => line.replace(/ +/g, " ")
          expect(lines.map(cells)).toEqual(whole.map(cells))
        }
      })
    )
  })

  it("loses padding before text, and cuts the widest column first", () => {
    const web = record(`${"web-".repeat(12)}x`)
    expect(vmTable([web, record("db")], { width: 46 })).toEqual([
      "NAME                ROLE STATE   VCPU MEM  CID",
      "web-web-web-web-we… work created 1    128M 3",
      "db                  work created 1    128M 3"
    ])
  })

  it("shows ID, AGE and PID if it is wide", () => {
    const web = record("web", { state: "running", pid: 4711 })
    const [header, line] = vmTable([web], { isWide: true, now: 1000 + 3600 })
    expect(header).toMatch(/ CID {4}ID {35}AGE {3}PID$/)
    expect(line?.split(/ +/).slice(-3)).toEqual([web.id, "1h", "4711"])
    expect(vmTable([record("db")], { isWide: true, hasHeader: false })[0]).toMatch(/-$/)
  })

  it("has one line for each record, without trailing blanks or control characters", () => {
    FastCheck.assert(
      FastCheck.property(vms, (vms) => {
        const lines = vmTable(vms)
        expect(lines).toHaveLength(vms.length + 1)
        for (const line of lines) {
          expect(line).not.toMatch(dangerous)
          expect(line).not.toMatch(/\n|\s$/)
        }
      })
    )
  })
})

describe("formatAge", () => {
  it.each([
    [-7, "0s"],
    [59, "59s"],
    [60, "1m"],
    [3599, "59m"],
    [3600, "1h"],
    [86_399, "23h"],
    [86_400, "1d"],
    [86_400 * 400, "400d"]
  ])("shows %i seconds as %s", (seconds, text) => expect(formatAge(seconds)).toBe(text))

  it("is the largest whole unit that passed", () => {
    const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }
    FastCheck.assert(
      FastCheck.property(FastCheck.nat(), (seconds) => {
        const [, count, unit = ""] = /^(\d+)([smhd])$/.exec(formatAge(seconds)) ?? []
        const size = units[unit] ?? 0
        expect(Math.floor(seconds / size)).toBe(Number(count))
        expect(seconds === 0 || Number(count) > 0).toBe(true)
      })
    )
  })
})

describe("vmDetails", () => {
  it("puts every value at column 13", () => {
    FastCheck.assert(
      FastCheck.property(vm, (vm) => {
        const { config_json: _, ...plain } = vm
        const lines = vmDetails(plain, 0)
        const optional = [
          ["Started", vm.started_at],
          ["Stopped", vm.stopped_at],
          ["PID", vm.pid],
          ["VMM", vm.vmm],
          ["Host", vm.host],
          ["Uptime", vm.state === "running" ? vm.started_at : undefined],
          ["Log", vm.console_log_path],
          ["Vsock", vm.uds_path ?? (vm.vmm === "qemu" ? vm.cid : undefined)]
        ] as const
        expect(lines.map((line) => line.slice(0, 12))).toEqual(
          ["Name", "ID", "Role", "State", "CID", "vCPUs", "Memory", "Created"]
            .concat(optional.flatMap(([label, value]) => (value === undefined ? [] : [label])))
            .map((label) => `${label}:`.padEnd(12))
        )
        expect(lines.slice(0, 2).map((line) => line.slice(12))).toEqual([vm.name, vm.id])
      })
    )
  })

  const running = record("web", { state: "running", started_at: 1000, vmm: "qemu" })

  it.each([
    [0, "0s"],
    [59, "59s"],
    [60, "1m 0s"],
    [3_601, "1h 0m"],
    [90_000, "1d 1h"],
    [-5, "0s"]
  ])("shows an uptime of %i seconds as %s", (seconds, text) => {
    expect(vmDetails(running, 1000 + seconds)).toContain(`Uptime:     ${text}`)
  })

  it("shows the CID as the address of the vsock device where it has no path", () => {
    expect(vmDetails(running, 0)).toContain("Vsock:      CID 3")
    expect(vmDetails({ ...running, uds_path: "/x/vsock.sock" }, 0)).toContain("Vsock:      /x/vsock.sock")
  })

  it("shows each drive on a line", () => {
    const drives = [
      { drive_id: "a", path_on_host: "/a", is_root_device: true, is_read_only: true },
      { drive_id: "b", path_on_host: "/b", is_root_device: false }
    ]
    const lines = vmDetails({ ...running, config_json: JSON.stringify({ drives, "machine-config": {} }) }, 0)
    expect(lines.slice(-2)).toEqual(["Drives:     /a (root, read-only)", "            /b"])
  })

  it.each(["", "{", "[]", '{"drives":[{}]}', '{"drives":7}'])(
    "shows no drives of the configuration %j",
    (config_json) => {
      expect(vmDetails({ ...running, config_json }, 0)).toEqual(vmDetails(running, 0))
    }
  )
})
