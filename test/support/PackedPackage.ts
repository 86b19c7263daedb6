import { type ExecFileOptions, execFile, execFileSync } from "node:child_process"
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"

/** Runs a program to its end and returns its output. */
const run = async (program: string, args: ReadonlyArray<string>, options: ExecFileOptions = {}): Promise<string> =>
  (await promisify(execFile)(program, args, { ...options, encoding: "utf8" })).stdout

/** A folder with a PATH on which there is Node.js, npm and a shell, and neither a compiler, make nor Python. */
const toolFolder = (folder: string) => {
  const tools = join(folder, "tools")
  mkdirSync(tools)
  symlinkSync(process.execPath, join(tools, "node"))
  for (const tool of ["npm", "sh"]) {
    const path = execFileSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).trim()
    symlinkSync(realpathSync(path), join(tools, tool))
  }
  return tools
}

/** Runs npm as a user does: with install scripts, and without the settings of the npm that runs the tests. */
const npmIn = (tools: string, home: string) => {
  const settings = Object.entries(process.env).filter(([name]) => !/^npm_config_(?:ignore_scripts|prefix)/i.test(name))
  const env = { ...Object.fromEntries(settings), PATH: tools, HOME: home, npm_config_cache: npmCache() }
  return (cwd: string, ...args: ReadonlyArray<string>) =>
    run("npm", [...args, "--prefer-offline", "--no-audit", "--no-fund"], { cwd, env })
}
const npmCache = () => execFileSync("npm", ["config", "get", "cache"], { encoding: "utf8" }).trim()

const compilerOptions = {
  module: "NodeNext",
  target: "ES2022",
  strict: true,
  exactOptionalPropertyTypes: true,
  types: ["node"],
  typeRoots: [join(process.cwd(), "node_modules/@types")]
}

/** Packs the project and installs the package in `folder`, for a program of another project. */
export const installPackage = async (folder: string) => {
  const tools = toolFolder(folder)
  const npm = npmIn(tools, folder)
  // Without the build in `prepare`, which would replace dist/ under other tests.
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder]
  const [{ files, filename }] = JSON.parse(await npm(process.cwd(), ...pack))
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "other", private: true, type: "module" }))
  await npm(folder, "install", `./${filename}`)
  return {
    /** The paths of the files in the package. */
    files: files.map(({ path }: { readonly path: string }) => path) as ReadonlyArray<string>,
    /** Installs it once more, globally under `prefix`; returns a function that runs one of its programs. */
    installGlobally: async (prefix: string) => {
      await npm(folder, "install", "--global", "--prefix", prefix, `./${filename}`)
      return (name: string, ...args: ReadonlyArray<string>) =>
        run(join(prefix, "bin", name), args, { env: { PATH: tools, HOME: folder } })
    },
    /** Compiles TypeScript programs under strict; returns a function that runs one to its end and returns its output. */
    compile: async (programs: Readonly<Record<string, string>>) => {
      for (const [name, code] of Object.entries(programs)) writeFileSync(join(folder, `${name}.ts`), code)
      const files = Object.keys(programs).map((name) => `${name}.ts`)
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files }))
      await run(join(process.cwd(), "node_modules/.bin/tsc"), ["-p", folder])
      return (name: string, ...args: ReadonlyArray<string>) =>
        run(process.execPath, [join(folder, `${name}.js`), ...args])
    }
  }
}
