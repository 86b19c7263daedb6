import { existsSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

const folder = join(homedir(), ".cache/nexus/linux-guest")

/** The Linux guest that scripts/linux-guest.sh makes of Debian's packages. */
export const linuxGuest = {
  kernel: join(folder, "vmlinuz"),
  initrd: join(folder, "initrd.img"),
  /** Without a frequency Linux measures its clock, which fails on a busy machine under emulation: the guest hangs then. */
  bootArgs: "console=ttyS0 reboot=t panic=-1 tsc_early_khz=2000000"
} as const

export const hasLinuxGuest = existsSync(linuxGuest.initrd)
