// @ts-check
// Opens a session with chosen files. Edits are kept in this browser, so that a restart of the server loses none.

import { Failure, upload } from "../http.js"
import { word } from "../i18n.js"
import { $, ask, say, state } from "./state.js"

const PLACE = "echomimic-edits"
const DAYS = 7
const MB = 1e6

/** @param {Record<string, any[]>} edits records by what they change */
export function remember(edits) {
  if (count(edits)) localStorage.setItem(PLACE, JSON.stringify({ edits, at: Date.now() }))
}

export function forget() {
  if (Date.now() - (kept()?.at ?? Date.now()) > DAYS * 864e5) localStorage.removeItem(PLACE)
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(PLACE) || "null")
  } catch {
    return null
  }
}

/** @param {Record<string, any[]>} edits */
const count = (edits) => Object.values(edits).reduce((sum, each) => sum + each.length, 0)

/**
 * Show the form that opens a session.
 * @param {(id: string) => Promise<void>} open
 * @param {boolean} lost whether the server has lost the session of before
 */
export async function begin(open, lost) {
  const form = $("begin")
  const box = $("restore").querySelector("input")
  const edits = kept()?.edits || {}
  form.hidden = false
  $("workspace").hidden = $("tools").hidden = true
  $("lost").hidden = !lost
  $("restore").hidden = !count(edits)
  box.checked = lost
  $("restore").querySelector("span").textContent = word("restore", { count: count(edits) })
  /** @param {FormData} data */
  const start = async (data) => {
    const buttons = form.querySelectorAll("button")
    for (const each of buttons) each.disabled = true
    say()
    $("working").hidden = false
    try {
      const { id } = await sendForm("/editor/sessions", data)
      if (count(edits) && box.checked) await ask(`/editor/sessions/${id}/restore`, edits)
      await open(id)
    } catch (error) {
      say(error)
    }
    $("working").hidden = true
    for (const each of buttons) each.disabled = false
  }
  form.onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault()
    const data = new FormData(form)
    const motion = data.get("motion")
    if (motion instanceof File && !motion.size) data.delete("motion")
    start(data)
  }
  $("example").onclick = async () => start(await exampleForm())
}

async function exampleForm() {
  const data = new FormData()
  for (const [field, kind, name] of [
    ["portrait", "portrait", "example.png"],
    ["speech", "voice", "example.flac"],
  ]) {
    data.append(field, await (await fetch(`/ui/example/${kind}`)).blob(), name)
  }
  return data
}

/**
 * Send a form, unless it is larger than the server accepts; the bar shows how much is sent, and then that the server
 * is at work.
 * @param {string} path
 * @param {FormData} form
 */
export async function sendForm(path, form) {
  const files = [...form.values()].flatMap((each) => (each instanceof File ? [each] : []))
  const size = files.reduce((sum, file) => sum + file.size, 0)
  const limit = state.config.max_upload
  if (size > limit) {
    const name = files.map((file) => file.name).join(" + ")
    const values = { name, size: (size / MB).toFixed(1), limit: Math.round(limit / MB) }
    throw new Failure(word("too_large", values), "too_large")
  }
  const bar = $("sending")
  bar.hidden = false
  try {
    return await upload(path, form, (part) => (part < 1 ? (bar.value = part) : bar.removeAttribute("value")))
  } finally {
    bar.hidden = true
  }
}
