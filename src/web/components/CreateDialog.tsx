import { signal } from "@preact/signals"
import * as Either from "effect/Either"
import { useState } from "preact/hooks"
import { VmRole } from "../../domain/Vm.js"
import { startVm } from "../state/Actions.js"
import { bounds, emptyForm, type FieldErrors, type FormTexts, readForm } from "../state/CreateForm.js"
import { call, messageOf } from "../state/Daemon.js"
import { showRecord } from "../state/Inventory.js"
import { DialogForm } from "./DialogForm.js"

export const isCreating = signal(false)

const close = () => {
  isCreating.value = false
}

export const CreateDialog = () => {
  const [texts, setTexts] = useState(emptyForm)
  const [isStarted, setIsStarted] = useState(false)
  const [isBusy, setIsBusy] = useState(false)
  const [errors, setErrors] = useState<FieldErrors>({})
  const [error, setError] = useState<string>()

  const submit = async () => {
    const read = readForm(texts)
    setError(undefined)
    setErrors(Either.isLeft(read) ? read.left : {})
    if (Either.isLeft(read)) return
    setIsBusy(true)
    const created = await call((client) => client.vms.create({ payload: read.right }))
    setIsBusy(false)
    if (Either.isLeft(created)) return setError(messageOf(created.left))
    showRecord(created.right)
    close()
    if (isStarted) await startVm(created.right)
  }

  /** The attributes of a field's control. */
  const control = (field: keyof FormTexts) => ({
    name: field,
    value: texts[field],
    "aria-invalid": errors[field] !== undefined,
    "aria-describedby": `${field}-hint ${field}-error`,
    onInput: ({
      currentTarget
    }: {
      readonly currentTarget: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement
    }) => setTexts({ ...texts, [field]: currentTarget.value })
  })
  const notes = (field: keyof FormTexts, hint: string) => (
    <>
      <span class="hint" id={`${field}-hint`}>
        {hint}
      </span>
      <span class="error" id={`${field}-error`} role="alert">
        {errors[field]}
      </span>
    </>
  )
  const numberField = (
    field: "vcpu_count" | "mem_size_mib",
    label: string,
    { max, min }: { min: number; max: number }
  ) => (
    <div class="field">
      <label for={field}>{label}</label>
      <input id={field} type="number" min={min} max={max} {...control(field)} />
      {notes(field, `${min} to ${max}`)}
    </div>
  )

  return (
    <DialogForm
      title="New VM"
      submit={{ label: "Create", kind: "primary" }}
      error={error}
      isBusy={isBusy}
      onSubmit={submit}
      onClose={close}
    >
      <div class="field">
        <label for="name">Name</label>
        <input id="name" autocomplete="off" autocapitalize="off" spellcheck={false} {...control("name")} />
        {notes("name", "a-z, 0-9 and -, at most 63 characters")}
      </div>
      <div class="field">
        <label for="role">Role</label>
        <select id="role" {...control("role")}>
          {VmRole.literals.map((role) => (
            <option key={role}>{role}</option>
          ))}
        </select>
        {notes("role", "What the VM is for")}
      </div>
      <div class="fields">
        {numberField("vcpu_count", "vCPUs", bounds.vcpu_count)}
        {numberField("mem_size_mib", "Memory, MiB", bounds.mem_size_mib)}
      </div>
      <div class="field">
        <label for="config_json">Configuration</label>
        <textarea id="config_json" rows={4} spellcheck={false} {...control("config_json")} />
        {notes("config_json", "Optional, JSON: boot-source, drives, network-interfaces")}
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked={isStarted}
          onChange={({ currentTarget }) => setIsStarted(currentTarget.checked)}
        />
        Start it
      </label>
    </DialogForm>
  )
}
