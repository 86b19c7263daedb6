import { escapeText } from "../../runtime/TerminalText.js"

/** Text of a record. Control characters and bidirectional overrides in it are shown escaped. */
export const Text = ({ of }: { readonly of: string }) => <bdi>{escapeText(of)}</bdi>
