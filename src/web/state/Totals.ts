import { type Vm, VmRole, VmState } from "../../domain/Vm.js"

/** How many VMs have each word, the known words first, in their order. */
type Counts = ReadonlyMap<string, number>

/** What running VMs hold, out of what all VMs would. */
interface Committed {
  readonly running: number
  readonly all: number
}

export interface Totals {
  readonly count: number
  readonly states: Counts
  readonly roles: Counts
  readonly memoryMib: Committed
  readonly vcpus: Committed
}

const countWords = (words: ReadonlyArray<string>) => new Map(words.map((word) => [word, 0]))

const increment = (counts: Map<string, number>, word: string) => counts.set(word, (counts.get(word) ?? 0) + 1)

/** Totals of records. */
export const totalsOf = (vms: Iterable<Vm>): Totals => {
  const states = countWords(VmState.literals)
  const roles = countWords(VmRole.literals)
  const memoryMib = { running: 0, all: 0 }
  const vcpus = { running: 0, all: 0 }
  let count = 0
  for (const { mem_size_mib, role, state, vcpu_count } of vms) {
    count += 1
    increment(states, state)
    increment(roles, role)
    memoryMib.all += mem_size_mib
    vcpus.all += vcpu_count
    if (state !== "running") continue
    memoryMib.running += mem_size_mib
    vcpus.running += vcpu_count
  }
  return { count, states, roles, memoryMib, vcpus }
}
