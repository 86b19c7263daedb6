import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"
import { vmReplaceContract } from "./VmReplaceContract.js"
import { vmRunContract } from "./VmRunContract.js"
import { vmStoreContract } from "./VmStoreContract.js"

vmStoreContract("memory", VmStoreMemory.layer)
vmReplaceContract("memory", VmStoreMemory.layer)
vmRunContract("memory", VmStoreMemory.layer, { hasHost: false, hasSettings: false })
