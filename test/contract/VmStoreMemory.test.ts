import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"
import { vmStoreContract } from "./VmStoreContract.js"

vmStoreContract("memory", VmStoreMemory.layer)
