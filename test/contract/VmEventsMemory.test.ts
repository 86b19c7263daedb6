import * as VmStoreMemory from "../../src/services/VmStoreMemory.js"
import { vmEventsContract } from "./VmEventsContract.js"

vmEventsContract("memory", VmStoreMemory.layer())
