// @ts-check
// The Bezier handles of the chosen point: shown, dragged, moved by keys; and what a point needs to have some.

import { make } from "../dom.js"
import { word } from "../i18n.js"
import { drawn, edit, letGo, tryOut } from "./change.js"
import { draw, drawKeys, showFrame } from "./show.js"
import { $, clamp, keys, rounded, short, state } from "./state.js"
import { level, moment, place, valueAt } from "./timeline.js"

/**
 * A point is [second, value], or has handles too: seconds and value of the one before it, and of that after it, the
 * values relative to the point's.
 * @typedef {number[]} Point
 */
const SIDES = { before: 2, after: 4 }
/** @type {Record<string, HTMLElement>} */
const dots = {}

/** The chosen point with its handles, if they are shown. @returns {Point | null} */
function chosen() {
  const point = state.dragged?.index === state.key ? state.dragged.point : keys()[state.key]
  return state.ease === "free" && !state.selected.size && point?.length > 2 ? point : null
}

/** The ends of the handles that are shown: second and value. @returns {Record<string, number[]>} */
export function tangentEnds() {
  const point = chosen()
  if (!point) return {}
  const [at, value, ...handles] = point
  /** @type {Record<string, number[]>} */
  const ends = {}
  if (state.key > 0) ends.before = [at - handles[0], value + handles[1]]
  if (state.key < keys().length - 1) ends.after = [at + handles[2], value + handles[3]]
  return ends
}

export function showTangents() {
  const { width, height } = $("timeline").getBoundingClientRect()
  const ends = tangentEnds()
  for (const [side, dot] of Object.entries(dots)) {
    dot.hidden = !ends[side]
    if (!ends[side]) continue
    const [at, value] = ends[side]
    dot.style.left = `${place(state, at, width)}px`
    dot.style.top = `${clamp(level(state.axis, value, height), 8, height - 8)}px`
    const values = { second: at.toFixed(2), value: short(value) }
    dot.setAttribute("aria-label", word(`tangent_${side}`, values))
  }
}

/**
 * The chosen point with one handle elsewhere.
 * @param {string} side
 * @param {number} seconds how far the handle is from the point
 * @param {number} value relative to the point's
 * @param {boolean} straight whether the other handle turns with it
 */
function bent(side, seconds, value, straight) {
  const point = [...keys()[state.key]]
  const beside = keys()[state.key + (side === "before" ? -1 : 1)]
  const [own, other] = side === "before" ? [SIDES.before, SIDES.after] : [SIDES.after, SIDES.before]
  point[own] = clamp(seconds, 0, Math.abs(beside[0] - point[0]))
  point[own + 1] = value
  if (straight && point[own] > 1e-6) point[other + 1] = (-value / point[own]) * point[other]
  return point
}

/** @param {Point} point the chosen one, changed */
const redrawn = (point) => drawn(state.curve, [keys()[state.key - 1], point, keys()[state.key + 1]])

/** @param {string} side @param {PointerEvent} event */
function grab(side, event) {
  const dot = dots[side]
  event.preventDefault()
  event.stopPropagation()
  dot.setPointerCapture(event.pointerId)
  const [at, value] = keys()[state.key]
  /** @type {any} */
  let record = null
  dot.onpointermove = (move) => {
    const box = $("timeline").getBoundingClientRect()
    const seconds = Math.abs(moment(state, move.clientX - box.left, box.width) - at)
    const ahead = moment(state, move.clientX - box.left, box.width) > at === (side === "after")
    const to = valueAt(state.axis, move.clientY - box.top, box.height)
    const point = bent(side, ahead ? seconds : 0, to - value, move.shiftKey)
    record = redrawn(point)
    state.dragged = { index: state.key, point }
    drawKeys()
    tryOut(record)
  }
  dot.onpointerup = dot.onpointercancel = (end) => {
    dot.onpointermove = dot.onpointerup = dot.onpointercancel = null
    letGo()
    if (record && end.type === "pointerup") return edit(record, at)
    draw()
    showFrame()
  }
}

/** @param {string} side @param {KeyboardEvent} event */
function pressed(side, event) {
  const ways = /** @type {Record<string, number[]>} */ ({
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, 1],
    ArrowDown: [0, -1],
  })
  const way = ways[event.key]
  if (!way) return
  event.preventDefault()
  event.stopPropagation()
  const point = keys()[state.key]
  const [low, high] = state.axis
  const own = side === "before" ? SIDES.before : SIDES.after
  const seconds = point[own] + ((side === "before" ? -1 : 1) * way[0]) / state.doc.fps
  const value = point[own + 1] + way[1] * 0.03 * (high - low)
  const place = `${state.curve} ${side} ${state.key}`
  const again = state.nudged?.curve === place
  state.nudged = { curve: place }
  edit(redrawn(bent(side, seconds, value, event.shiftKey)), point[0], again)
}

/** Move the focus from the chosen point to its handles, and back. */
export function turnTangents() {
  const stops = [...Object.values(dots).filter((dot) => !dot.hidden), $("keys").querySelector("[aria-pressed=true]")]
  const now = stops.indexOf(/** @type {HTMLElement} */ (document.activeElement))
  stops[(now + 1) % stops.length]?.focus()
}

export function setUpTangents() {
  for (const side of Object.keys(SIDES)) {
    const dot = make("button", { type: "button", className: "tangent", tabIndex: -1, hidden: true })
    dot.onpointerdown = (/** @type {PointerEvent} */ event) => grab(side, event)
    dot.onkeydown = (/** @type {KeyboardEvent} */ event) => pressed(side, event)
    dots[side] = dot
    $("tangents").append(dot)
  }
}

/**
 * The handles of a point, or those that lead smoothly through it.
 * @param {Point} point
 * @param {Point | undefined} before
 * @param {Point | undefined} after
 */
export function handlesOf(point, before, after) {
  if (point.length > 2) return point.slice(2).map(rounded)
  const [left, right] = [before || point, after || point]
  const isExtreme = before && after && (point[1] - before[1]) * (after[1] - point[1]) <= 0
  const slope = isExtreme || left === right ? 0 : (right[1] - left[1]) / (right[0] - left[0])
  const [back, on] = [(point[0] - left[0]) / 3, (right[0] - point[0]) / 3]
  return [back, -slope * back, on, slope * on].map(rounded)
}

/**
 * A point on the curve between two others, which keeps its shape.
 * @param {Point} before
 * @param {Point} after
 * @param {number} at a second between theirs
 * @returns {[Point, Point, Point]} the three points with their handles
 */
export function split(before, after, at) {
  const far = after[0] - before[0]
  const [p0, p3] = [before.slice(0, 2), after.slice(0, 2)]
  const p1 = [before[0] + Math.min(before[4], far), before[1] + before[5]]
  const p2 = [after[0] - Math.min(after[2], far), after[1] + after[3]]
  const mix = (/** @type {number[]} */ a, /** @type {number[]} */ b, /** @type {number} */ u) =>
    a.map((each, axis) => each + u * (b[axis] - each))
  const parts = (/** @type {number} */ u) => {
    const [a, b, c] = [mix(p0, p1, u), mix(p1, p2, u), mix(p2, p3, u)]
    const [d, e] = [mix(a, b, u), mix(b, c, u)]
    return { a, c, d, e, middle: mix(d, e, u) }
  }
  let [low, high] = [0, 1]
  for (let step = 0; step < 30; step++) {
    const u = (low + high) / 2
    if (parts(u).middle[0] < at) low = u
    else high = u
  }
  const { a, c, d, e, middle } = parts((low + high) / 2)
  const handle = (/** @type {number[]} */ end, /** @type {number[]} */ from) => [
    Math.abs(end[0] - from[0]),
    end[1] - from[1],
  ]
  return [
    [...before.slice(0, 4), ...handle(a, p0)],
    [at, middle[1], ...handle(d, middle), ...handle(e, middle)],
    [...p3, ...handle(c, p3), ...after.slice(4)],
  ]
}
