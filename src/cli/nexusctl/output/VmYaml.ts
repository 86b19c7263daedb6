import * as Effect from "effect/Effect"
import { isUnsafeInYaml, toSafeYaml } from "../../../runtime/TerminalText.js"

/** A value as a YAML document that `apply` reads. Readers of YAML 1.1 see the same strings. */
export const toYaml = (value: unknown): Effect.Effect<string> =>
  Effect.gen(function* () {
    // Loaded on demand, as for settings files.
    const Yaml = yield* Effect.promise(() => import("yaml"))
    const document = new Yaml.Document(value, { aliasDuplicateObjects: false, compat: "yaml-1.1" })
    Yaml.visit(document, {
      Scalar: (_, node) => {
        // Only this form has escapes.
        if (typeof node.value === "string" && isUnsafeInYaml(node.value)) node.type = "QUOTE_DOUBLE"
      }
    })
    return toSafeYaml(document.toString({ lineWidth: 0, doubleQuotedMinMultiLineLength: Number.MAX_SAFE_INTEGER }))
  })
