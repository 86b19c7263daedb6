import { computed, signal } from "@preact/signals"
import { vms } from "./Inventory.js"
import { initialSelection, type Selection, select } from "./Selection.js"

/** What the list shows. It outlives the list, which a VM's page replaces. */
export const selection = signal<Selection>(initialSelection)

export const selectedVms = computed(() => select(vms.value.values(), selection.value))
