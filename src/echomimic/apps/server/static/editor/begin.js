// @ts-check
// Opens a session with chosen files. Edits are kept in this browser, so that a restart of the server loses none.

import { exampleFile, Failure, look, upload } from "../http.js"
import { language, word } from "../i18n.js"
import { $, ask, say, state } from "./state.js"

const PLACE = "echomimic-edits-" // and the id of the session
const LAST = "echomimic-session"
const DAYS = 7
const MB = 1e6
const ANALYSIS_EVERY = 500 // milliseconds

/** Keep the edits of the open session. @param {Record<string, any[]>} edits records by what they change */
export function remember(edits) {
  sessionStorage.setItem(LAST, state.id)
  if (!count(edits)) return localStorage.removeItem(PLACE + state.id)
  const { portrait, voice } = state.clip
  localStorage.setItem(PLACE + state.id, JSON.stringify({ edits, portrait, voice, at: Date.now() }))
}

/** Delete what is older than a week. */
export function forget() {
  for (const { id, at } of kept()) if (Date.now() - at > DAYS * 864e5) localStorage.removeItem(PLACE + id)
}

/** The edits of each session that this browser keeps, the newest first. @returns {any[]} */
function kept() {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(PLACE))
  const read = (/** @type {string} */ name) => {
    try {
      return { id: name.slice(PLACE.length), ...JSON.parse(localStorage.getItem(name) || "") }
    } catch {
      return { edits: {}, at: 0 }
    }
  }
  return names
    .map(read)
    .filter(({ edits }) => count(edits))
    .sort((a, b) => b.at - a.at)
}

/** @param {Record<string, any[]>} edits */
const count = (edits) => Object.values(edits).reduce((sum, each) => sum + each.length, 0)

/**
 * Show the form that opens a session.
 * @param {(id: string) => Promise<void>} open
 * @param {string} lost the id of the session that the server has lost, if it has
 */
export async function begin(open, lost) {
  const form = $("begin")
  const slots = kept()
  form.hidden = false
  $("workspace").hidden = $("tools").hidden = true
  $("lost").hidden = !lost
  showSlots(slots, lost)
  offerOpen(open)
  /** @param {FormData} data */
  const start = async (data) => {
    const buttons = form.querySelectorAll("button")
    for (const each of buttons) each.disabled = true
    say()
    $("working").hidden = false
    try {
      const { id } = await sendForm("/editor/sessions", data)
      const slot = slots.find((each) => each.id === $("restore").querySelector("select").value)
      if (slot) await ask(`/editor/sessions/${id}/restore`, slot.edits)
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
  $("example").onclick = () => exampleForm().then(start, say)
}

/** Offer the edits that this browser keeps. @param {any[]} slots @param {string} lost */
function showSlots(slots, lost) {
  const options = slots.map(({ id, edits, portrait, voice, at }) => {
    const values = { count: count(edits), name: `${portrait} · ${voice}`, time: new Date(at).toLocaleString(language) }
    return new Option(word("restore", values), id)
  })
  $("restore").hidden = !slots.length
  const list = $("restore").querySelector("select")
  list.replaceChildren(new Option(word("restore_none"), ""), ...options)
  list.value = lost ? (slots.find((each) => each.id === lost) || slots[0])?.id || "" : ""
}

/** Offer the session of this tab, if the server still has it. @param {(id: string) => Promise<void>} open */
async function offerOpen(open) {
  const id = sessionStorage.getItem(LAST)
  if (!id || (await look(`/editor/sessions/${id}/alive`).catch(() => null)) === null) return
  $("open").hidden = false
  $("open").onclick = () => open(id)
}

async function exampleForm() {
  const data = new FormData()
  data.append("portrait", await exampleFile("portrait"))
  data.append("speech", await exampleFile("voice"))
  return data
}

/**
 * Send a form, unless it is larger than the server accepts; the bar shows how much is sent, and then how much of the
 * voice the server has analyzed.
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
  const token = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("")
  form.append("token", token)
  bar.hidden = false
  const asking = setInterval(() => showAnalysis(token), ANALYSIS_EVERY)
  try {
    return await upload(path, form, (part) => (part < 1 ? (bar.value = part) : bar.removeAttribute("value")))
  } finally {
    clearInterval(asking)
    bar.hidden = true
    $("working").textContent = word("working")
  }
}

/** Show how much of the voice of an upload was analyzed. @param {string} token */
async function showAnalysis(token) {
  const { done, total } = await look(`/editor/analysis/${token}`).catch(() => ({ total: 0 }))
  if (!total || $("sending").hidden) return
  $("sending").value = done / total
  $("working").textContent = word("analyzing", { done, total })
}
