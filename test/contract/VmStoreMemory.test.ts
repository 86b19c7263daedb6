import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"
import { storeFiguresContract } from "./StoreFiguresContract.js"
import { vmReplaceContract } from "./VmReplaceContract.js"
import { vmRunContract } from "./VmRunContract.js"
import { vmStoreContract } from "./VmStoreContract.js"

vmStoreContract("memory", VmStoreMemory.layer)
storeFiguresContract("memory", VmStoreMemory.layer)
vmReplaceContract("memory", VmStoreMemory.layer)
vmRunContract("memory", VmStoreMemory.layer, { hasHost: false, hasSettings: false })
