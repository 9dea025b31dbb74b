// @ts-check
// The keyframes of the chosen curve: choose, drag, move by keyboard, add and remove.

import { word } from "../i18n.js"
import { $, ask, clamp, edited, keys, newest, rounded, second, state, total } from "./state.js"
import { drawn, edit, failed, letGo, ownEdits, tryOut, without } from "./change.js"
import { snapped } from "./blocks.js"
import { go, scrub } from "./clock.js"
import { moveSelected, removeSelected, softly } from "./selection.js"
import { draw, drawKeys, focusChosen, show, showFrame } from "./show.js"
import { split } from "./tangents.js"
import { moment, valueAt } from "./timeline.js"

export function choose(index) {
  if (index !== state.key) state.nudged = null
  if (!state.selected.has(index)) state.selected = new Set()
  state.key = index
  draw()
}

export function pick(name) {
  Object.assign(state, { curve: name, key: -1, nudged: null, selected: new Set() })
  $("gain").value = 1
  $("gained").textContent = "×1"
  show()
  loadKeys()
}

/** Ask for the points of the chosen curve: a long clip comes without those of all curves. */
export const loadKeys = newest(async () => {
  const { doc, curve } = state
  if (doc.keys[curve]) return
  try {
    doc.keys[curve] = await ask(edited(`/keys/${curve}?tolerance=${$("tolerance").value}`))
    if (doc === state.doc) draw()
  } catch (error) {
    await failed(error)
  }
})

export function otherCurve(by) {
  const names = state.doc.table.map((line) => line.name)
  pick(names[clamp(names.indexOf(state.curve) + by, 0, names.length - 1)])
}

/** @returns {number[]} */
function moved(index, at, value) {
  const all = keys(),
    line = state.line(),
    one = 1 / state.doc.fps
  const before = all[index - 1],
    after = all[index + 1]
  const low = before ? before[0] + one : all[index][0],
    high = after ? after[0] - one : all[index][0]
  return [
    low > high ? all[index][0] : clamp(Math.round(snapped(at) * state.doc.fps) * one, low, high),
    clamp(value, line.low, line.high),
    ...all[index].slice(2),
  ]
}

const redrawn = (points) => drawn(state.curve, points)
const around = (index, point) => redrawn([keys()[index - 1], point, keys()[index + 1]])

function grab(event) {
  const dot = event.target,
    index = +dot.dataset.index,
    was = keys()[index]
  event.preventDefault()
  dot.focus()
  choose(index)
  go(was[0] * state.doc.fps)
  dot.setPointerCapture(event.pointerId)
  /** @type {any} */
  let line = null,
    point = was
  dot.onpointermove = (move) => {
    const box = $("timeline").getBoundingClientRect()
    point = moved(
      index,
      moment(state, move.clientX - box.left, box.width),
      valueAt(state.axis, move.clientY - box.top, box.height),
    )
    line = state.soft ? softly(index, point, state.soft) : around(index, point)
    state.dragged = { index, point }
    state.cursor = Math.round(point[0] * state.doc.fps)
    drawKeys()
    tryOut(line)
  }
  dot.onwheel = (/** @type {WheelEvent} */ turn) => {
    turn.preventDefault()
    turn.stopPropagation()
    state.soft = clamp(rounded(state.soft - Math.sign(turn.deltaY) * 0.1), 0, 5)
    $("where").textContent = word("soft", { seconds: state.soft.toFixed(1) })
  }
  dot.onpointerup = dot.onpointercancel = (end) => {
    dot.onpointermove = dot.onpointerup = dot.onpointercancel = dot.onwheel = null
    letGo()
    if (line && end.type === "pointerup") edit(line, point[0])
    else {
      draw()
      showFrame()
    }
  }
}

// Move the chosen point by frames and by fractions of the visible range; all presses until it is let go are one edit.
export function nudge(frames, shares) {
  if (state.selected.size) return moveSelected(frames, shares)
  const again = state.nudged?.curve === state.curve
  const all = keys(),
    [was, value, ...handles] = again ? state.nudged.point : all[state.key]
  const [before, after] = again ? state.nudged.beside : [all[state.key - 1], all[state.key + 1]]
  const line = state.line(),
    one = 1 / state.doc.fps,
    [low, high] = state.axis
  const at = clamp(was + frames * one, before ? before[0] + one : was, after ? after[0] - one : was)
  const point = [at, clamp(value + shares * (high - low), line.low, line.high), ...handles]
  state.nudged = { curve: state.curve, point, beside: [before, after] }
  state.cursor = Math.round(at * state.doc.fps)
  edit(redrawn([before, point, after]), at, again)
}

/** @param {number} when @param {number | null} [value] */
export function addKey(when, value = null) {
  const frame = clamp(Math.round(when * state.doc.fps), 0, state.doc.frames - 1),
    at = frame / state.doc.fps,
    all = keys(),
    index = all.findIndex(([each]) => each >= at - 1e-6)
  if (index >= 0 && Math.abs(all[index][0] - at) < 1e-3) return choose(index)
  if (index < 1) return
  const three = split(all[index - 1], all[index], at)
  if (value !== null) three[1][1] = value
  all.splice(index - 1, 2, ...three)
  choose(index)
  go(frame)
  if (value !== null) edit(redrawn(three), at)
}

export function removeKey() {
  if (state.selected.size) return removeSelected()
  const all = keys(),
    [before, , after] = [all[state.key - 1], all[state.key], all[state.key + 1]]
  if (before && after) return edit(redrawn([before, after]), before[0])
  const [end, beside] = [all[state.key], before || after]
  if (beside) edit(redrawn([beside, [end[0], beside[1]]]), end[0]) // hold what is beside it
}

export function step(by) {
  const all = keys(),
    index = by > 0 ? all.findIndex(([at]) => at > second() + 1e-3) : all.findLastIndex(([at]) => at < second() - 1e-3)
  if (index < 0) return
  choose(index)
  go(all[index][0] * state.doc.fps)
  focusChosen()
}

// An edit that scales the chosen curve, in the chosen range or everywhere.
export function scaled(gain) {
  const range = state.range ? { start: rounded(state.range[0]), end: rounded(state.range[1]) } : {}
  return { op: "scale_curve", curve: state.curve, gain: rounded(gain), ...range }
}

/** Mute the chosen curve, or take the mute back that is there. */
export function toggleMute() {
  const mute = scaled(0)
  return mutes(mute).length ? without((each) => same(each, mute)) : edit(mute)
}

/** @param {any} a @param {any} b */
const same = (a, b) =>
  ["op", "curve", "gain", "start", "end"].every(
    (name) => (a[name] ?? (name === "start" ? 0 : null)) === (b[name] ?? (name === "start" ? 0 : null)),
  )
/** @param {any} mute */
const mutes = (mute) => ownEdits().filter((each) => same(each, mute))
export const isMuted = () => mutes(scaled(0)).length > 0

export function mark(end) {
  const [from, to] = state.range || [0, total()],
    range = end ? [Math.min(from, second()), second()] : [second(), Math.max(to, second())]
  state.range = range[1] - range[0] > 1e-3 ? range : null
  show()
}

export function setUpPoints() {
  $("keys").addEventListener("pointerdown", grab)
  $("keys").addEventListener("focusin", (event) => choose(+event.target.dataset.index))
}
