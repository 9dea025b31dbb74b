// @ts-check
// Shows what is edited: the frame at the cursor, the time line, the lanes, the list of edits.

import { make, noteLines } from "../dom.js"
import { word } from "../i18n.js"
import { $, edited, keys, newest, second, short, state } from "./state.js"
import { drawLane, drawStage, drawWave, level, limits, place, readColours } from "./timeline.js"

const CLOSEST = 5 // pixels from point to point, on the average
const PARTS = ["eyes", "brows", "mouth", "pupils", "nose", "head"]

export const showFrame = newest(async () => {
  const began = performance.now(),
    picture = new Image(),
    { cursor, kind, revision } = state
  picture.src = edited(`/frame/${cursor}?of=${revision}&close=${$("close").checked}`)
  try {
    await picture.decode()
  } catch {
    return
  }
  if (state.trying || kind !== state.kind) return
  $("frame").src = picture.src
  Object.assign($("frame").dataset, { ms: Math.round(performance.now() - began), shown: cursor, kind })
})

export function draw() {
  readColours()
  drawWave(state, $("wave").firstElementChild)
  drawStage(state, $("stage").firstElementChild)
  for (const line of state.doc.table) drawLane(state, $(`lane-${line.name}`).lastElementChild, line)
  drawKeys()
  drawCursor()
}

export function drawCursor() {
  const box = $("stage").getBoundingClientRect(),
    home = $("right").getBoundingClientRect()
  const x = place(state, second(), box.width),
    line = $("cursor"),
    at = second().toFixed(2)
  line.style.left = `${box.left - home.left + x}px`
  line.style.height = `${$("lanes").getBoundingClientRect().bottom - home.top}px`
  line.hidden = x < 0 || x > box.width
  $("clock").textContent =
    `${at} s · ${state.cursor + 1} / ${state.doc.frames} · ${word(state.curve)} ${short(state.doc.curves[state.curve][state.cursor])}`
  $("wave").setAttribute("aria-valuenow", at)
  $("wave").setAttribute("aria-valuetext", `${at} s`)
}

// Points in view only, and where they would hide the curve no more than the chosen one: a long clip has thousands.
function shownKeys(width) {
  const { start, span } = state.view,
    { dragged } = state
  const seen = keys()
    .map((key, index) => [...(dragged?.index === index ? dragged.point : key), index])
    .filter(([at]) => at >= start - 1e-6 && at <= start + span + 1e-6)
  return seen.length * CLOSEST < width ? seen : seen.filter(([, , index]) => index === state.key)
}

export function drawKeys() {
  const { width, height } = $("stage").getBoundingClientRect(),
    home = $("keys"),
    seen = shownKeys(width)
  const stop = seen.find(([, , index]) => index === state.key) || seen[0] // one stop of the tab key: , and . go on from there
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
    dot.setAttribute("aria-pressed", index === state.key)
    dot.setAttribute(
      "aria-label",
      `${word(state.curve)}, ${word("key", { second: at.toFixed(2), value: short(value) })}`,
    )
    dot.style.left = `${place(state, at, width)}px`
    dot.style.top = `${level(state.axis, value, height)}px`
  })
}

// Where a point has the focus, the chosen one has it.
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
  for (const each of doc.table) $(`lane-${each.name}`).setAttribute("aria-selected", each.name === state.curve)
  $("lanes").setAttribute("aria-activedescendant", `lane-${state.curve}`)
  $("undo").disabled = !doc.edits.length
  $("redo").disabled = !doc.undone
  for (const box of $("parts").querySelectorAll("input")) box.checked = !doc.parts || doc.parts.includes(box.value)
  $("notes").replaceChildren(noteLines(doc.notes))
  showWarnings()
  showEdits(doc)
  draw()
}

function showEdits({ edits, baked }) {
  const lines = [...baked.map(({ text }) => [text, "past"]), ...edits.map(({ text }) => [text, ""])]
  $("count").textContent = lines.length
  $("edits").replaceChildren(
    ...lines.map(([text, kind]) => {
      const item = document.createElement("li"),
        code = document.createElement("code")
      code.textContent = text
      code.className = kind
      item.append(code)
      return item
    }),
  )
  if (!lines.length) {
    const item = document.createElement("li")
    item.textContent = word("no_edits")
    item.className = "none"
    $("edits").append(item)
  }
  $("edits").scrollTop = $("edits").scrollHeight
}

// Says which edits the chosen preset does not render, where it is chosen.
export function showWarnings() {
  const preset = state.config.presets.find((each) => each.name === $("preset").value)
  const takes = preset?.takes === "hands" ? "hands" : "face",
    other = takes === "face" ? "hands" : "face"
  const lost = (state.edits[other] || []).length
  const text = lost && preset ? word(`no_effect_${other}`, { preset: preset.name, count: lost }) : ""
  $("warning").replaceChildren(...(text ? [make("b", {}, `${word("note")}${word("colon")}`), `${text}`] : []))
}

// Lays out what depends on the kind: the lanes and the words; `pick` is called with a lane's curve.
export function lay(pick) {
  const { doc, kind } = state,
    hands = kind === "hands"
  for (const each of $("kinds").children) each.setAttribute("aria-pressed", each.value === kind)
  $("about-hands").hidden = !hands
  $("frame").classList.toggle("grip", hands)
  $("close").parentElement.hidden = $("driven").hidden = $("legend").hidden = hands
  $("mute").textContent = word(hands ? "still" : "mute")
  $("files").textContent =
    `${state.clip.portrait} · ${state.clip.voice} · ${doc.width} × ${doc.height} · ${short(doc.fps)} fps`
  $("files").title = $("files").textContent
  $("save").href = edited("/motion")
  $("lanes").replaceChildren(
    ...doc.table.map((line) => {
      const lane = document.createElement("div"),
        name = document.createElement("span")
      lane.id = `lane-${line.name}`
      lane.className = "lane"
      lane.setAttribute("role", "option")
      lane.title = line.help
      name.textContent = word(line.name)
      lane.append(name, document.createElement("canvas"))
      lane.onclick = () => pick(line.name)
      return lane
    }),
  )
}

// The boxes that say which parts of the face the track drives; `choose` is called with those that are ticked.
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
