import { escapeText } from "../../runtime/TerminalText.js"
import { dismiss, notices } from "../state/Notices.js"

export const NoticeList = () => (
  <section class="notices" aria-label="Failures">
    {notices.value.map(({ key, message }) => (
      <div key={key} class="notice" role="alert">
        <span>{escapeText(message)}</span>
        <button type="button" class="quiet" aria-label="Dismiss" onClick={() => dismiss(key)}>
          ✕
        </button>
      </div>
    ))}
  </section>
)
