// @ts-check
// The editor: opens a session, switches between face and hands, and connects the controls.

import { askForKey } from "../dom.js"
import { ask as request, look } from "../http.js"
import { language, translatePage, word } from "../i18n.js"
import { begin, forget, remember, sendForm } from "./begin.js"
import { setUpTakes, showTakes } from "./takes.js"
import { change, edit, failed, hooks, letGo, take, tryOut } from "./change.js"
import { go, play, setUpSound, zoom } from "./clock.js"
import { setUpGrip } from "./grip.js"
import { setUpKeyboard, setUpStrips } from "./input.js"
import { loadBlocks, setUpBlocks } from "./blocks.js"
import { setUpLayers } from "./layers.js"
import { loadKeys, pick, scaled, setUpPoints, toggleMute } from "./points.js"
import { setUpTangents } from "./tangents.js"
import { layPresets, setUpRender, suggestPreset } from "./render.js"
import { draw, lay, layParts, show, showFrame } from "./show.js"
import { $, ask, say, second, session, short, state, total } from "./state.js"

const EASES = [
  ["free", "free"],
  ["smooth", "smooth"],
  ["linear", "linear"],
  ["in", "in"],
  ["out", "out"],
  ["hold", "hold"],
  ["fast", "0.1,0.8,0.3,1"],
  ["over", "0.3,0,0.4,1.5"],
]
const FIRST = 20 // seconds in view at first
const LEAST = 3
const PER_SECOND = 60 // pixels that a second has at least, so that points can be touched
const VIEW = "echomimic-view"
const busy = (text) => {
  $("result").textContent = text
}

// ---- face or hands

async function turnTo(kind) {
  if (kind === state.kind) return
  say()
  busy(word("working"))
  try {
    state.docs[kind] ||= await ask(session(`/${kind}`))
  } catch (error) {
    if (kind === "hands" && error.status === 422) layPresets(error.message)
    return failed(error)
  } finally {
    busy("")
  }
  enter(kind)
}

function enter(kind) {
  const at = second(),
    { table, fps } = state.docs[kind]
  state.chosen[state.kind] = state.curve
  letGo()
  Object.assign(state, {
    kind,
    doc: state.docs[kind],
    curve: state.chosen[kind] || table[0].name,
    key: -1,
    nudged: null,
  })
  sessionStorage.setItem(VIEW, kind)
  lay(pick)
  suggestPreset()
  show()
  go(at * fps)
}

const other = () => turnTo(state.kind === "face" ? "hands" : "face")

// ---- the controls

function setUpTools() {
  $("undo").onclick = () => change("/undo")
  $("redo").onclick = () => change("/redo")
  $("play").onclick = () => play()
  $("whole").onchange = show
  $("close").onchange = () => showFrame()
  setUpEases()
  $("tolerance").onchange = () => reload(state.kind)
  $("mute").onclick = toggleMute
  $("loop").onclick = () => {
    state.loop = !state.loop
    $("loop").setAttribute("aria-pressed", String(state.loop))
  }
  $("zoom-in").onclick = () => zoom(0.7)
  $("zoom-out").onclick = () => zoom(1 / 0.7)
  $("gain").oninput = () => {
    $("gained").textContent = `×${short(+$("gain").value)}`
    tryOut(scaled(+$("gain").value))
  }
  $("gain").onchange = setGain
  $("load").onchange = () => send("load", "motion", "/motion", loaded)
  $("again").onchange = () =>
    send("again", "speech", "/fork", ({ id }) => {
      place(id)
      location.reload()
    })
  for (const each of $("kinds").children) each.onclick = () => turnTo(each.value)
  window.addEventListener("resize", () => state.doc && draw())
}

/** The ways between points that are drawn from now on. */
function setUpEases() {
  $("ease").replaceChildren(...EASES.map(([name, value]) => new Option(word(`ease.${name}`), value)))
  $("ease").onchange = () => {
    state.ease = $("ease").value
    draw()
  }
}

/** Ask for everything again: with other points. @param {string} kind */
async function reload(kind) {
  try {
    const doc = await ask(session(`/${kind}?tolerance=${$("tolerance").value}&curve=${state.curve}`))
    state.docs[kind] = state.doc = doc
    take(doc)
  } catch (error) {
    await failed(error)
  }
}

function setGain() {
  const gain = +$("gain").value
  letGo()
  $("gain").value = 1
  $("gained").textContent = "×1"
  if (gain === 1) {
    show()
    return showFrame()
  } // a slider that returns to 1 makes no edit
  edit(scaled(gain))
}

async function send(input, name, path, then) {
  const form = new FormData()
  form.append(name, $(input).files[0])
  $(input).value = ""
  busy(word("working"))
  say()
  try {
    then(await sendForm(session(path), form))
  } catch (error) {
    await failed(error)
  } finally {
    busy("")
  }
}

// Show a loaded motion, of the face or of the hands.
function loaded(doc) {
  state.docs[doc.kind] = doc
  if (doc.kind === state.kind) state.doc = doc
  take(doc)
  enter(doc.kind)
}

// ---- beginning

/** Name the session in the address, so that a reload and Back keep it. @param {string} id */
const place = (id) => history.replaceState(null, "", `${location.pathname}${location.search}#${id}`)

async function open(id) {
  state.id = id
  try {
    ;({ face: state.doc, ...state.clip } = await ask(session()))
  } catch (error) {
    return failed(error)
  }
  const { doc, clip } = state,
    kind = sessionStorage.getItem(VIEW) || new URLSearchParams(location.search).get("kind") || clip.first
  state.edits = Object.fromEntries(
    Object.entries(clip.edits).map(([each, edits]) => [each, edits.map(({ record }) => record)]),
  )
  Object.assign(state, { kind: "face", docs: { face: doc }, revision: doc.revision, curve: "jaw", cursor: 0 })
  const room = innerWidth > 800 ? innerWidth * 0.65 : innerWidth - 130
  state.view = { start: 0, span: Math.min(total(), FIRST, Math.max(LEAST, room / PER_SECOND)) }
  place(id)
  remember(state.edits)
  $("begin").hidden = true
  $("workspace").hidden = $("tools").hidden = $("kinds").hidden = false
  $("sound").src = $("scrub").src = session("/voice")
  $("save-project").href = session("/project")
  $("wave").setAttribute("aria-valuemax", total().toFixed(2))
  $("close").checked = doc.far
  lay(pick)
  setUpRender()
  show()
  showFrame()
  loadKeys()
  loadBlocks()
  showTakes()
  if (kind === "hands") turnTo(kind)
}

function nameControls() {
  translatePage()
  document.title = `EchoMimic · ${word("editor")}`
  $("home").href = `/?lang=${language}`
  $("play").textContent = word("play")
  $("frame").alt = word("frame_alt")
  $("recent").alt = word("recent")
  $("wave").title = word("wave")
  $("render-span").title = word("render_span_help")
  const labels = {
    gain: "strength",
    "zoom-in": "zoom_in",
    "zoom-out": "zoom_out",
    wave: "wave",
    tracks: "curve",
    kinds: "kinds",
    bar: "progress",
    sending: "uploading",
    "clip-strength": "strength",
    "own-name": "own_label",
    "layer-name": "layer_label",
    transcript: "transcript",
    spoken: "spoken",
    video: "videos",
  }
  for (const [id, key] of Object.entries(labels)) $(id).setAttribute("aria-label", word(key))
  for (const id of ["own-name", "layer-name"]) $(id).placeholder = $(id).ariaLabel
}

const start = (/** @type {string} */ lost) => {
  sessionStorage.removeItem(VIEW)
  $("kinds").hidden = true
  return begin(open, lost)
}

// ---- whether the server is there

async function watch() {
  try {
    if (state.id && state.doc) await look(session("/alive"))
    else await look("/healthz")
    $("offline").hidden = true
  } catch (error) {
    if (error.code === "session_gone") await failed(error)
    $("offline").hidden = error.status !== 0
  }
  setTimeout(watch, document.hidden ? 10000 : 2000)
}

async function main() {
  nameControls()
  forget()
  $("offline").textContent = word("offline_editor")
  state.config = await request("/ui/config")
  hooks.lost = start
  layParts((parts) => edit({ op: "select", parts }))
  setUpTools()
  setUpStrips()
  setUpPoints()
  setUpTangents()
  setUpGrip()
  setUpLayers()
  setUpBlocks()
  setUpTakes((id) => {
    place(id)
    location.reload()
  })
  setUpSound()
  setUpKeyboard(other)
  if (state.id) await open(state.id)
  else await start("")
  document.body.dataset.ready = "1"
  watch()
  window.addEventListener("hashchange", () => {
    if (location.hash.slice(1) && location.hash.slice(1) !== state.id) location.reload()
  })
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.doc && draw())
}

main().catch((error) => (error.status === 401 ? askForKey(error) : say(error)))
