// @ts-check
// Blocks under the wave form: words, stretches that matter to the lips, and expressions; chosen, moved and changed.

import { errorLine, make } from "../dom.js"
import { language, word } from "../i18n.js"
import { drawn, edit, records, replaceEdits } from "./change.js"
import { go } from "./clock.js"
import { show } from "./show.js"
import { $, ask, clamp, rounded, second, session, state, total } from "./state.js"
import { place } from "./timeline.js"

const EASE = 0.06 // seconds in which a curve goes over into what is beside a block
const NEAR = 7 // pixels within which a point snaps to the edge of a block
const MOST = 400 // blocks that are shown at once
const LIPS = ["jaw", "spread", "upper_lip", "tuck", "closure", "tongue"]
/** The curves that move with a block. @type {Record<string, string[]>} */
const CURVES = {
  closed: ["closure"],
  tuck: ["tuck"],
  open: ["jaw", "upper_lip"],
  wide: ["spread"],
  round: ["spread"],
  hiss: ["jaw", "tongue"],
  silence: [],
  word: LIPS,
}
const EXPRESSIONS = { smile: 1, doubt: 1.2, surprise: 0.9, glance: 0.8, nod: 0.7, shake: 0.9, blink: 0.24 }
const PLACE = "echomimic-expressions"

/** @typedef {{start: number, end: number, kind: string, text: string, record?: any}} Block */

/** @type {Block[]} */
let chosen = []
/** The expression as it is drawn, of which `chosen` has the newest change. @type {{from: any} | null} */
let changed = null

// ---- what there is

/** Ask for the stretches of the voice. */
export async function loadBlocks() {
  state.words = []
  state.stretches = []
  try {
    const found = await ask(session("/stretches"))
    state.stretches = found.map((/** @type {any} */ each) => ({ ...each, text: word(`block.${each.kind}`) }))
    drawBlocks()
  } catch {
    // the time line is complete without them
  }
}

/** The expressions among the edits, those in layers included. @returns {Block[]} */
const clips = () =>
  records()
    .flatMap((each) => (each.op === "layer" ? each.edits : [each]))
    .filter((each) => each.op === "express")
    .map((record) => {
      const { expression, start, seconds = 1 } = record
      return { start, end: start + seconds, kind: "express", text: word(`express.${expression}`), record }
    })

/** @returns {Block[]} */
const blocks = () => (state.kind === "face" ? [...state.words, ...state.stretches, ...clips()] : [])

/** The second nearest to `at` that is the edge of a block and near on the screen, or `at`. @param {number} at */
export function snapped(at) {
  const width = $("timeline").getBoundingClientRect().width
  const reach = (NEAR / width) * state.view.span
  const edges = [...state.words, ...state.stretches].flatMap(({ start, end }) => [start, end])
  const near = edges.filter((each) => Math.abs(each - at) < reach)
  return near.length ? near.reduce((a, b) => (Math.abs(a - at) < Math.abs(b - at) ? a : b)) : at
}

// ---- drawing

export function drawBlocks() {
  const home = $("blocks")
  const width = home.getBoundingClientRect().width
  home.hidden = state.kind !== "face"
  const { start, span } = state.view
  const seen = blocks().filter((each) => each.end > start && each.start < start + span)
  const focused = home.contains(document.activeElement)
  home.replaceChildren(...(seen.length > MOST ? [] : seen.map((each) => element(each, width))))
  if (focused) home.querySelector("[aria-pressed=true]")?.focus()
  $("block-actions").hidden = state.kind !== "face" || !state.range
  $("clip-strength").parentElement.hidden = !chosen[0]?.record
}

/** Whether a label fits into a block of that width in pixels. @param {string} label @param {number} width */
const fits = (label, width) => width >= (label > "\u2fff" ? 12 : 7) * label.length + 2

/** @param {Block} block @param {number} width */
function element(block, width) {
  const { kind, text, start, end } = block
  const left = place(state, start, width)
  const wide = Math.max(3, place(state, end, width) - left - 1)
  const label = `${text}, ${word("range", { start: start.toFixed(2), end: end.toFixed(2) })}`
  const whole = kind === "word" || kind === "express" // these say nothing by one letter; they are cut off
  const shown = whole || fits(text, wide) ? text : fits(text[0], wide) ? text[0] : ""
  const made = make("button", { type: "button", className: `block ${kind}`, title: label, "aria-label": label }, shown)
  made.setAttribute("aria-pressed", String(chosen.some((each) => same(each, block))))
  made.tabIndex = same(block, chosen[0] || first()) ? 0 : -1
  Object.assign(made.style, { left: `${left}px`, width: `${wide}px` })
  made.onpointerdown = (/** @type {PointerEvent} */ event) => drag(made, block, event)
  made.onclick = () => choose(block)
  made.onkeydown = (/** @type {KeyboardEvent} */ event) => onKey(block, event)
  return made
}

const first = () => blocks().find((each) => each.end > state.view.start)
/** @param {any} a @param {any} b */
const same = (a, b) => a && b && a.kind === b.kind && a.start === b.start && a.text === b.text

/** @param {Block} block */
function choose(block) {
  chosen = [block]
  state.range = [block.start, block.end]
  if (block.record) $("clip-strength").value = block.record.strength ?? 1
  if (block.kind in CURVES && CURVES[block.kind].length) state.curve = CURVES[block.kind][0]
  state.key = -1
  go(block.start * state.doc.fps)
  show()
  $("blocks").querySelector("[aria-pressed=true]")?.focus()
}

/** @param {HTMLElement} made @param {Block} block @param {PointerEvent} event */
function drag(made, block, event) {
  const width = $("blocks").getBoundingClientRect().width
  const box = made.getBoundingClientRect()
  const longer = Boolean(block.record) && event.clientX > box.right - Math.min(8, box.width / 3)
  const from = event.clientX
  let by = 0
  made.setPointerCapture(event.pointerId)
  made.onpointermove = (move) => {
    if (Math.abs(move.clientX - from) < 4 && !by) return
    by = ((move.clientX - from) / width) * state.view.span
    if (longer) made.style.width = `${Math.max(3, box.width + move.clientX - from)}px`
    else made.style.transform = `translateX(${move.clientX - from}px)`
  }
  made.onpointerup = made.onpointercancel = (end) => {
    made.onpointermove = made.onpointerup = made.onpointercancel = null
    if (end.type !== "pointerup") return drawBlocks()
    if (!by) return choose(block)
    made.onclick = null
    if (longer) stretch(block, by)
    else move(block, by)
  }
}

/** @param {Block} shown @param {KeyboardEvent} event */
function onKey(shown, event) {
  // the next press may come before the change of the last one is drawn: it continues from that change
  const block = shown.record && changed?.from === shown.record && chosen[0]?.record ? chosen[0] : shown
  const one = 1 / state.doc.fps
  if (block === shown) changed = null
  const way = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0
  if (way && event.altKey) chosen = [block]
  if (way && event.altKey && event.shiftKey && block.record) stretch(block, way * one)
  else if (way && event.altKey) move(block, way * one)
  else if (way) {
    const all = blocks().filter((each) => (each.kind === "word") === (block.kind === "word"))
    const next = all[all.findIndex((each) => same(each, block)) + way]
    if (next) choose(next)
  } else if (/^(Delete|Backspace)$/.test(event.key) && block.record) removeClip(block.record)
  else if (event.key !== "Enter" && event.key !== " ") return
  event.preventDefault()
  event.stopPropagation()
  if (/^(Enter| )$/.test(event.key)) choose(block)
}

// ---- changes

/** @param {string} name @param {number} at */
const valueAt = (name, at) => state.doc.curves[name][clamp(Math.round(at * state.doc.fps), 0, state.doc.frames - 1)]

/** Move a block: what the curves do in it goes along. @param {Block} block @param {number} by */
async function move(block, by) {
  by = Math.round(clamp(by, -block.start, total() - block.end) * state.doc.fps) / state.doc.fps
  if (!by) return drawBlocks()
  const { start, end } = block
  if (block.record) return changeClip(block.record, { start: rounded(start + by) })
  const [left, right] = [Math.min(start, start + by) - EASE, Math.max(end, end + by) + EASE]
  const inside = []
  for (let at = start; at <= end + 1e-6; at += 1 / state.doc.fps) inside.push(at)
  const edits = CURVES[block.kind].map((name) =>
    drawn(
      name,
      [[left, valueAt(name, left)], ...inside.map((at) => [at + by, valueAt(name, at)]), [right, valueAt(name, right)]],
      "linear",
    ),
  )
  Object.assign(block, { start: start + by, end: end + by })
  state.range = [block.start, block.end]
  chosen = [block]
  if (edits.length) await edit(edits, block.start)
  else drawBlocks()
}

/** @param {Block} block @param {number} by */
const stretch = (block, by) =>
  changeClip(block.record, { seconds: rounded(Math.max(2 / state.doc.fps, block.end - block.start + by)) })

/** A record as text, whatever the order of its fields. @param {any} record */
const sorted = (record) => JSON.stringify(Object.entries(record).sort())

/** Change an expression where it is. @param {any} record @param {Record<string, any> | null} values null removes it */
function changeClip(record, values) {
  const text = sorted(record)
  /** @param {any} each */
  const replaced = (each) => {
    if (each.op === "layer") return [{ ...each, edits: each.edits.flatMap(replaced) }]
    return sorted(each) !== text ? [each] : values ? [{ ...each, ...values }] : []
  }
  if (!changed || chosen[0]?.record !== record) changed = { from: record }
  const { start, seconds = 1 } = { ...record, ...values }
  state.range = values ? [start, start + seconds] : null
  chosen = chosen.map((each) => ({ ...each, start, end: start + seconds, record: { ...record, ...values } }))
  return replaceEdits(() => records().flatMap(replaced))
}

/** @param {any} record */
const removeClip = (record) => changeClip(record, null)

/** What the buttons make of the chosen range. @type {Record<string, (from: number, to: number) => any>} */
const ACTIONS = {
  close_here: (from, to) => around("closure", from, to, 1),
  hold: (from, to) => LIPS.map((name) => around(name, from, to, valueAt(name, (from + to) / 2))),
  wider: (from, to) => shifted("spread", from, to, 0.35),
  rounder: (from, to) => shifted("spread", from, to, -0.35),
  opener: (from, to) => shifted("jaw", from, to, 0.2),
}

/** @param {string} name @param {number} from @param {number} to @param {number} value */
const around = (name, from, to, value) => {
  const [left, right] = [from - EASE, to + EASE]
  const points = [
    [left, valueAt(name, left)],
    [from, value],
    [to, value],
    [right, valueAt(name, right)],
  ]
  return drawn(name, points, "smooth")
}

/** @param {string} curve @param {number} from @param {number} to @param {number} by */
const shifted = (curve, from, to, by) => ({
  op: "shift_curve",
  curve,
  keys: [
    [rounded(from - EASE), 0],
    [rounded(from), by],
    [rounded(Math.max(to, from + 0.01)), by],
    [rounded(Math.max(to, from + 0.01) + EASE), 0],
  ],
})

// ---- expressions

/** @returns {{name: string, seconds: number, curves: Record<string, [number, number][]>}[]} */
const own = () => JSON.parse(localStorage.getItem(PLACE) || "[]")

/** Add an expression. @param {string} name @param {number} [at] */
function express(name, at = state.range ? state.range[0] : second()) {
  const mine = own().find((each) => each.name === name)
  const length = state.range ? state.range[1] - state.range[0] : mine?.seconds || EXPRESSIONS[name]
  if (!mine) return edit({ op: "express", expression: name, start: rounded(at), seconds: rounded(length) })
  const by = length / mine.seconds
  return edit(
    Object.entries(mine.curves).map(([curve, keys]) => ({
      op: "shift_curve",
      curve,
      keys: keys.map(([when, amount]) => [rounded(at + when * by), amount]),
    })),
  )
}

/** Keep what the edits do in the chosen range, against the voice alone, as an expression of one's own. */
async function saveOwn() {
  if (!state.range) return
  const { fps } = state.doc
  const [from, to] = state.range.map((at) => Math.round(at * fps))
  const before = await ask(session("/face/curves"), { edits: [] })
  /** @type {Record<string, [number, number][]>} */
  const curves = {}
  for (const [name, values] of Object.entries(before)) {
    const by = values.slice(from, to + 1).map((/** @type {number} */ value, /** @type {number} */ k) => {
      return state.doc.curves[name][from + k] - value
    })
    const line = state.doc.table.find((/** @type {any} */ each) => each.name === name)
    if (Math.max(...by.map(Math.abs)) > 0.03 * (line.high - line.low)) curves[name] = decimated(by, fps)
  }
  if (!Object.keys(curves).length) return
  const name = $("own-name").value.trim() || word("own_name", { number: own().length + 1 })
  const kept = [...own().filter((each) => each.name !== name), { name, seconds: (to - from) / fps, curves }]
  localStorage.setItem(PLACE, JSON.stringify(kept.slice(-24)))
  $("own-name").value = ""
  layExpressions()
}

/** Points whose lines follow the values to 4 % of their size (Ramer, 1972). @param {number[]} values @param {number} fps */
function decimated(values, fps) {
  const limit = 0.04 * Math.max(...values.map(Math.abs))
  const kept = new Set([0, values.length - 1])
  const spans = [[0, values.length - 1]]
  for (let span = spans.pop(); span; span = spans.pop()) {
    const [a, b] = span
    let [worst, far] = [0, limit]
    for (let k = a + 1; k < b; k++) {
      const chord = values[a] + ((values[b] - values[a]) * (k - a)) / (b - a)
      if (Math.abs(values[k] - chord) > far) [worst, far] = [k, Math.abs(values[k] - chord)]
    }
    if (worst) {
      kept.add(worst)
      spans.push([a, worst], [worst, b])
    }
  }
  return [...kept]
    .sort((a, b) => a - b)
    .map((k) => /** @type {[number, number]} */ ([rounded(k / fps), rounded(values[k])]))
}

function layExpressions() {
  const names = [...Object.keys(EXPRESSIONS), ...own().map(({ name }) => name)]
  $("expressions").replaceChildren(
    ...names.map((name) => {
      const made = make(
        "button",
        { type: "button", draggable: true },
        name in EXPRESSIONS ? word(`express.${name}`) : name,
      )
      made.onclick = () => express(name)
      made.ondragstart = (/** @type {DragEvent} */ event) => event.dataTransfer?.setData("text/plain", name)
      return made
    }),
  )
}

// ---- the transcript

async function align() {
  const text = $("transcript").value
  if (!text.trim()) return
  $("align").disabled = true
  $("aligned").textContent = word("working")
  try {
    const found = await ask(session("/words"), { text, language: $("spoken").value })
    state.words = found.map((/** @type {any} */ each) => ({ ...each, kind: "word" }))
    $("aligned").textContent = word("aligned", { count: found.length })
    drawBlocks()
  } catch (error) {
    $("aligned").replaceChildren(errorLine(error))
  }
  $("align").disabled = false
}

export function setUpBlocks() {
  layExpressions()
  for (const [name, make_] of Object.entries(ACTIONS))
    $(name).onclick = () => state.range && edit(make_(state.range[0], state.range[1]), state.range[0])
  $("save-own").onclick = saveOwn
  $("clip-strength").onchange = () =>
    chosen[0]?.record && changeClip(chosen[0].record, { strength: rounded(+$("clip-strength").value) })
  $("align").onclick = align
  $("spoken").value = language === "zh" ? "cmn" : "en-us"
  $("subtitles").onchange = async () => {
    const [file] = $("subtitles").files
    if (file) $("transcript").value = await file.text()
    $("subtitles").value = ""
    align()
  }
  for (const home of [$("timeline"), $("blocks"), $("wave")]) {
    home.addEventListener("dragover", (/** @type {DragEvent} */ event) => event.preventDefault())
    home.addEventListener("drop", (/** @type {DragEvent} */ event) => {
      event.preventDefault()
      const box = home.getBoundingClientRect()
      const name = event.dataTransfer?.getData("text/plain") || ""
      state.range = null
      const at = state.view.start + ((event.clientX - box.left) / box.width) * state.view.span
      if (name in EXPRESSIONS || own().some((each) => each.name === name)) express(name, clamp(at, 0, total()))
    })
  }
}
