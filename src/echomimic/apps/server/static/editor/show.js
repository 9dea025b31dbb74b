// @ts-check
// Shows the state: the frame at the cursor, the time line, a row for each curve, the list of edits.

import { make, noteLines } from "../dom.js"
import { word } from "../i18n.js"
import { drawBlocks } from "./blocks.js"
import { records, replaceEdits } from "./change.js"
import { showHandles } from "./grip.js"
import { showLayers } from "./layers.js"
import { isMuted } from "./points.js"
import { showRender } from "./render.js"
import { $, edited, keys, newest, second, short, state } from "./state.js"
import { showTangents, tangentEnds } from "./tangents.js"
import { drawTrack, drawCurve, drawWave, level, limits, place, readColours } from "./timeline.js"

const CLOSEST = 5 // least average distance of points in pixels
const PARTS = ["eyes", "brows", "mouth", "pupils", "nose", "head"]

/** The picture that was asked for before the cursor is there, since it is moved on by keys. @type {HTMLImageElement | null} */
let ahead = null

/** Ask for a frame of the present revision. @param {number} frame */
function asked(frame) {
  const picture = new Image(),
    address = edited(`/frame/${frame}?of=${state.revision}&close=${$("close").checked}`)
  if (ahead?.getAttribute("src") === address) return ahead
  picture.src = address
  return picture
}

export const showFrame = newest(async () => {
  const began = performance.now(),
    { cursor, kind } = state,
    picture = asked(cursor)
  try {
    await picture.decode()
  } catch {
    ahead = null
    return
  }
  if (state.trying || kind !== state.kind) return
  $("frame").src = picture.src
  Object.assign($("frame").dataset, { ms: Math.round(performance.now() - began), shown: cursor, kind })
  if ($("handles-shown").checked || $("handles").childElementCount) showHandles()
  const next = cursor + state.stride
  if (state.steady && state.cursor === cursor && next >= 0 && next < state.doc.frames) ahead = asked(next)
})

export function draw() {
  readColours()
  drawWave(state, $("wave").firstElementChild)
  drawCurve(state, $("timeline").firstElementChild, tangentLines())
  for (const line of state.doc.table) drawTrack(state, $(`track-${line.name}`).lastElementChild, line)
  drawBlocks()
  drawKeys()
  drawCursor()
}

/** The line from the chosen point to each of its handles. */
function tangentLines() {
  const point = state.dragged?.point || keys()[state.key]
  return Object.values(tangentEnds()).map((end) => [point, end])
}

export function drawCursor() {
  const box = $("timeline").getBoundingClientRect(),
    home = $("right").getBoundingClientRect()
  const x = place(state, second(), box.width),
    line = $("cursor"),
    at = second().toFixed(2)
  line.style.left = `${box.left - home.left + x}px`
  line.style.height = `${$("tracks").getBoundingClientRect().bottom - home.top}px`
  line.hidden = x < 0 || x > box.width
  $("clock").textContent =
    `${at} s · ${state.cursor + 1} / ${state.doc.frames} · ${word(state.curve)} ${short(state.doc.curves[state.curve][state.cursor])}`
  $("wave").setAttribute("aria-valuenow", at)
  $("wave").setAttribute("aria-valuetext", `${at} s`)
}

// The visible points; only the chosen one if they would hide the curve, since a long clip has thousands.
function shownKeys(width) {
  const { start, span } = state.view,
    { dragged } = state
  const seen = keys()
    .map((key, index) => [...(dragged?.index === index ? dragged.point : key).slice(0, 2), index])
    .filter(([at]) => at >= start - 1e-6 && at <= start + span + 1e-6)
  return seen.length * CLOSEST < width ? seen : seen.filter(([, , index]) => index === state.key)
}

export function drawKeys() {
  const { width, height } = $("timeline").getBoundingClientRect(),
    home = $("keys"),
    seen = shownKeys(width)
  const stop = seen.find(([, , index]) => index === state.key) || seen[0] // one tab stop: the keys , and . reach the others
  while (home.children.length > seen.length) home.lastElementChild.remove()
  seen.forEach((key, number) => {
    const [at, value, index] = key
    let dot = home.children[number]
    if (!dot) {
      dot = document.createElement("button")
      dot.className = "key"
      home.append(dot)
    }
    dot.dataset.index = index
    dot.tabIndex = key === stop ? 0 : -1
    dot.setAttribute("aria-pressed", String(index === state.key || state.selected.has(index)))
    dot.setAttribute(
      "aria-label",
      `${word(state.curve)}, ${word("key", { second: at.toFixed(2), value: short(value) })}`,
    )
    dot.style.left = `${place(state, at, width)}px`
    dot.style.top = `${level(state.axis, value, height)}px`
  })
  showTangents()
}

// Move the focus to the chosen point if a point has it.
export function focusChosen() {
  if (document.activeElement?.classList.contains("key")) $("keys").querySelector("[aria-pressed=true]")?.focus()
}

export function show() {
  const { doc } = state,
    line = state.line(),
    unit = word(line.unit)
  state.axis = limits(line, doc.curves[line.name], $("whole").checked ? 1 / line.usual : 0.2)
  $("named").textContent = word(line.name)
  $("about").textContent = `${line.low}…${line.high} ${unit}`
  $("about").title = line.help
  $("where").textContent = state.range
    ? word("range", { start: state.range[0].toFixed(2), end: state.range[1].toFixed(2) })
    : word("whole")
  for (const each of doc.table) $(`track-${each.name}`).setAttribute("aria-selected", each.name === state.curve)
  $("tracks").setAttribute("aria-activedescendant", `track-${state.curve}`)
  $("undo").disabled = !doc.undoable
  $("mute").setAttribute("aria-pressed", String(isMuted()))
  $("redo").disabled = !doc.undone
  for (const box of $("parts").querySelectorAll("input")) box.checked = !doc.parts || doc.parts.includes(box.value)
  $("notes").replaceChildren(noteLines(doc.notes))
  showWarnings()
  showRender()
  showEdits(doc)
  showLayers()
  draw()
}

/** @param {string} text @param {() => void} act */
const removal = (text, act) =>
  make("button", { type: "button", className: "small", "aria-label": `${word("remove")} ${text}`, onclick: act }, "×")

function showEdits({ edits, baked }) {
  const line = (text, kind, remove) =>
    make("li", {}, make("code", { className: kind }, text), ...(remove ? [" ", removal(text, remove)] : []))
  const lines = [
    ...baked.map(({ text }) => line(text, "past")),
    ...edits.map(({ text, record }, index) =>
      record.op === "layer"
        ? line(`${record.name} (${record.edits.length})`, "")
        : line(text, "", () => replaceEdits(() => records().toSpliced(index, 1))),
    ),
  ]
  $("count").textContent = lines.length
  $("edits").replaceChildren(...lines)
  if (!lines.length) {
    const item = document.createElement("li")
    item.textContent = word("no_edits")
    item.className = "none"
    $("edits").append(item)
  }
  $("edits").scrollTop = $("edits").scrollHeight
}

// Show which edits the chosen preset does not render.
export function showWarnings() {
  const preset = state.config.presets.find((each) => each.name === $("preset").value)
  const takes = preset?.takes === "hands" ? "hands" : "face",
    other = takes === "face" ? "hands" : "face"
  const lost = (state.edits[other] || []).length
  const text = lost && preset ? word(`no_effect_${other}`, { preset: preset.name, count: lost }) : ""
  $("warning").replaceChildren(...(text ? [make("b", {}, `${word("note")}${word("colon")}`), `${text}`] : []))
}

// Lay out what depends on face or hands: the rows and the words; `pick` is called with the curve of a clicked row.
export function lay(pick) {
  const { doc, kind } = state,
    hands = kind === "hands"
  for (const each of $("kinds").children) each.setAttribute("aria-pressed", each.value === kind)
  $("about-hands").hidden = !hands
  $("frame").classList.toggle("grip", hands)
  for (const id of ["driven", "legend", "dragging", "face-tools"]) $(id).hidden = hands
  $("close").parentElement.hidden = hands
  $("mute").textContent = word(hands ? "still" : "mute")
  $("files").textContent =
    `${state.clip.portrait} · ${state.clip.voice} · ${doc.width} × ${doc.height} · ${short(doc.fps)} fps`
  $("files").title = $("files").textContent
  $("save").href = edited("/motion")
  $("tracks").replaceChildren(
    ...doc.table.map((line) => {
      const row = document.createElement("div"),
        name = document.createElement("span")
      row.id = `track-${line.name}`
      row.className = "track"
      row.setAttribute("role", "option")
      row.title = line.help
      name.textContent = word(line.name)
      row.append(name, document.createElement("canvas"))
      row.onclick = () => pick(line.name)
      return row
    }),
  )
}

// The checkboxes for the driven regions of the face; `choose` is called with the ticked ones.
export function layParts(choose) {
  $("parts").replaceChildren(
    ...PARTS.map((part) => {
      const label = document.createElement("label"),
        box = document.createElement("input")
      box.type = "checkbox"
      box.value = part
      box.onchange = () => choose([...$("parts").querySelectorAll("input:checked")].map((each) => each.value))
      label.append(box, ` ${word(part)}`)
      return label
    }),
  )
}
