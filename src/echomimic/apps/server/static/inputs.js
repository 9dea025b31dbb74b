// @ts-check
// Portrait and voice: dropped, pasted or chosen, checked by the server, and shown.

import { $, dropZone, errorLine, make, noteLines, takePasted } from "./dom.js"
import { ask, Failure, upload } from "./http.js"
import { word } from "./i18n.js"
import { chooseFace, chosenOptions, chosenPreset, frameRate, setFraming } from "./options.js"

const MB = 1e6
const CROP = ["size", "framing", "face", "face_box", "crop_margin"]

/** @type {{portrait: File | null, voice: File | null}} */
export const files = { portrait: null, voice: null }
/** @type {{portrait: any, voice: any}} */
const checked = { portrait: null, voice: null }
/** @type {Record<string, Promise<void>>} */
const running = {}
const rounds = { portrait: 0, voice: 0 }
let limit = Infinity
/** @type {() => void} */
let changed = () => {}

/** @typedef {"portrait" | "voice"} Input */

/**
 * @param {number} mostBytes
 * @param {() => void} onChange
 */
export function setUpInputs(mostBytes, onChange) {
  limit = mostBytes
  changed = onChange
  for (const name of /** @type {Input[]} */ (["portrait", "voice"])) setUpZone(name)
  takePasted((file) => choose(file.type.startsWith("image/") ? "portrait" : "voice", file))
}

/** @param {Input} name */
const zone = (name) => /** @type {HTMLElement} */ ($(name).querySelector(".drop"))
/** @param {Input} name */
const place = (name) => /** @type {HTMLElement} */ ($(name).querySelector(".checked"))

/** @param {Input} name */
function setUpZone(name) {
  dropZone(zone(name), (file) => choose(name, file))
  const button = /** @type {HTMLElement} */ ($(name).querySelector(".capture"))
  button.hidden = !navigator.mediaDevices?.getUserMedia
  button.onclick = async () => {
    const { capture } = await import("./voice.js")
    capture(name, /** @type {HTMLElement} */ ($(name).querySelector(".capturing")), (file) => choose(name, file))
  }
}

/**
 * Take a file for an input, and have the server check it. A file past the limit leaves what was there before.
 * @param {Input} name
 * @param {File} file
 */
export async function choose(name, file) {
  place(name).querySelector(".error")?.remove()
  if (file.size > limit) {
    const values = { name: file.name, size: (file.size / MB).toFixed(1), limit: Math.round(limit / MB) }
    place(name).prepend(errorLine(new Failure(word("too_large", values), "too_large")))
    return
  }
  if (name === "voice") before = null
  files[name] = file
  checked[name] = null
  const [title, help] = zone(name).querySelectorAll("b, span")
  zone(name).classList.add("filled")
  title.textContent = file.name
  help.textContent = word("choose_another")
  changed()
  running[name] = check(name)
  await running[name]
}

/** @param {Input} name */
async function check(name) {
  const round = ++rounds[name]
  const file = files[name]
  if (!file) return
  const bar = make("progress", { max: 1, "aria-label": word("uploading") })
  const working = make("p", { className: "soft", role: "status" }, word("checking"))
  if (!checked[name]) place(name).replaceChildren(bar, working)
  try {
    const said = await (name === "portrait" ? checkPortrait : checkVoice)(file, (fraction) => (bar.value = fraction))
    if (round !== rounds[name]) return
    checked[name] = said
    show[name](said)
  } catch (error) {
    if (round === rounds[name]) place(name).replaceChildren(errorLine(error))
  }
}

function cropFields() {
  const options = chosenOptions(longerSide())
  const given = Object.entries(options).filter(([name]) => CROP.includes(name))
  return [["preset", chosenPreset()], ...given.map(([name, value]) => [name, String(value)])]
}

/**
 * @param {File} file
 * @param {(fraction: number) => void} progress
 * @returns {Promise<any>}
 */
async function checkPortrait(file, progress) {
  if (checked.portrait) {
    try {
      return await ask(`/ui/portraits/${checked.portrait.id}?${new URLSearchParams(cropFields())}`)
    } catch (error) {
      if (/** @type {Failure} */ (error).status !== 404) throw error
    }
  }
  const form = new FormData()
  for (const [name, value] of cropFields()) form.append(name, value)
  form.append("portrait", file)
  const before = String(form.get("size"))
  checked.portrait = await upload("/ui/portraits", form, progress)
  const size = chosenOptions(longerSide()).size // the quality's size counts only where the picture is larger
  return size === undefined || String(size) === before ? checked.portrait : checkPortrait(file, progress)
}

/**
 * @param {File} file
 * @param {(fraction: number) => void} progress
 */
async function checkVoice(file, progress) {
  if (checked.voice) return checked.voice
  const form = new FormData()
  form.append("speech", file)
  return upload("/ui/voices", form, progress)
}

const show = { portrait: showPortrait, voice: showVoice }

/** @param {any} said */
function showPortrait(said) {
  const { width, height, crop, video } = said
  const view = make("div", { className: "crop" }, make("img", { src: said.preview, alt: word("crop_alt") }))
  const shown = make("div", { className: "shown" })
  set(shown, crop, width, height)
  view.append(shown)
  said.faces.forEach((/** @type {any} */ box, /** @type {number} */ index) => {
    const values = { number: index + 1, count: said.faces.length }
    const button = make("button", {
      type: "button",
      "aria-label": word("face_number", values),
      title: word("face_number", values),
    })
    button.setAttribute("aria-pressed", String(Math.abs(box.x - said.face.x) < 2 && Math.abs(box.y - said.face.y) < 2))
    button.onclick = () => chooseFace(index + 1)
    set(button, box, width, height)
    view.append(button)
  })
  const values = { width: video.width, height: video.height, wide: width, high: height }
  const lines = [make("p", {}, word("crop", values))]
  if (said.faces.length > 1) lines.push(make("p", { className: "soft" }, word("choose_face")))
  place("portrait").replaceChildren(view, ...lines, noteLines(said.notes))
  import("./gallery.js").then(({ framingHandle }) => {
    if (said === checked.portrait) framingHandle(view, said, setFraming)
  })
}

/**
 * @param {HTMLElement} element
 * @param {{x: number, y: number, width: number, height: number}} box
 * @param {number} width
 * @param {number} height
 */
function set(element, box, width, height) {
  Object.assign(element.style, {
    left: `${(100 * box.x) / width}%`,
    top: `${(100 * box.y) / height}%`,
    width: `${(100 * box.width) / width}%`,
    height: `${(100 * box.height) / height}%`,
  })
}

/** @type {string} */
let heard = ""

/** @param {any} said */
function showVoice(said) {
  const file = /** @type {File} */ (files.voice)
  if (heard) URL.revokeObjectURL(heard)
  heard = URL.createObjectURL(file)
  const frames = Math.max(1, Math.round(said.seconds * frameRate()))
  const line = make("p", {}, word("voice_facts", { seconds: said.seconds.toFixed(2), frames }))
  const sound = make("audio", { controls: true, src: heard, "aria-label": word("voice") })
  sound.onerror = () => sound.remove() // the browser cannot play everything that the server reads
  place("voice").replaceChildren(sound, line, noteLines(said.notes))
  import("./voice.js").then(({ waveForm }) => {
    if (file === files.voice) sound.after(waveForm(said, file, sound, trimmed))
  })
}

/** @type {File | null} the voice before a part of it was chosen */
let before = null

/** @param {File} part */
async function trimmed(part) {
  const whole = before || files.voice
  await choose("voice", part)
  before = whole
  const back = make("button", { type: "button", id: "untrim" }, word("untrim"))
  back.onclick = () => whole && choose("voice", whole)
  place("voice").append(back)
}

/** Check again what depends on the settings. */
export function recheck() {
  check("portrait")
  if (checked.voice) showVoice(checked.voice)
}

/** The longer side of the portrait in pixels; 0 until it is known. */
export const longerSide = () => (checked.portrait ? Math.max(checked.portrait.width, checked.portrait.height) : 0)

/** Resolves when the files that were chosen are checked. */
export const settled = () => Promise.allSettled(Object.values(running))

/** Both files; a Failure if one is missing. */
export function bothFiles() {
  const { portrait, voice } = files
  if (!portrait || !voice) throw new Failure(word("need_both"), "missing_field")
  return { portrait, voice }
}

/** Check again after the server was away. */
export function checkMissing() {
  for (const name of /** @type {Input[]} */ (["portrait", "voice"])) if (files[name] && !checked[name]) check(name)
}
