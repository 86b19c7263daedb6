import { setFlagsFromString } from "node:v8"

/**
 * Keeps V8's young generation at the size that it has grown to. What a request needs is garbage once it is answered, so a
 * larger one saves no work, and newer versions of V8 grow it further. Call it once the program serves: one that is small
 * from the start promotes what starting makes.
 */
export const limitYoungGeneration = () => setFlagsFromString("--semi-space-growth-factor=1")
