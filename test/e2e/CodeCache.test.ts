import { afterAll, expect, it } from "vitest"
import { makeHome } from "../support/Home.js"
import { start } from "../support/Process.js"
import { programs } from "../support/Programs.js"

const home = makeHome(afterAll)
// Without a valid cache, the launcher loads the bundle as a module.
const probe = home.write(
  "probe.cjs",
  `process.on("exit", () => console.error(Object.keys(require.cache).filter((path) => path.endsWith(".bundle.cjs"))))`
)

for (const [name, program] of Object.entries(programs)) {
  it(`${name} starts from V8's code cache`, async () => {
    const { code, stderr } = await start(home, process.execPath, ["--require", probe, program, "--version"]).ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: "[]\n" })
  })
}
