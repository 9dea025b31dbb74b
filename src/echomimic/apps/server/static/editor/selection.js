// @ts-check
// Several points at once: chosen by a box, moved, stretched, copied, pasted and removed; a point with its neighbours.

import { $, keys, rounded, second, state, total } from "./state.js"
import { drawn, edit } from "./change.js"
import { drawKeys, show } from "./show.js"
import { valueAt } from "./timeline.js"

const PLACE = "echomimic-points"

/** Choose the points in a box that is drawn. @param {PointerEvent} event @param {(event: any) => number} when */
export function boxed(event, when) {
  const home = $("timeline").getBoundingClientRect()
  const [x, y] = [event.clientX, event.clientY]
  const frame = $("box")
  return {
    move: (/** @type {PointerEvent} */ move) => {
      const [left, right] = [x, move.clientX].sort((a, b) => a - b)
      const [top, bottom] = [y, move.clientY].sort((a, b) => a - b)
      frame.hidden = false
      frame.style.left = `${left - home.left}px`
      frame.style.top = `${top - home.top}px`
      frame.style.width = `${right - left}px`
      frame.style.height = `${bottom - top}px`
      const value = (/** @type {number} */ at) => valueAt(state.axis, at - home.top, home.height)
      const [from, to] = [when({ clientX: left }), when({ clientX: right })]
      const [low, high] = [value(top), value(bottom)].sort((a, b) => a - b)
      const inside = (/** @type {number[]} */ [at, amount]) => at >= from && at <= to && amount >= low && amount <= high
      state.selected = new Set(keys().flatMap((key, index) => (inside(key) ? [index] : [])))
      drawKeys()
    },
    end: () => {
      frame.hidden = true
    },
  }
}

/** The chosen points, in order. @returns {number[][]} */
export const selectedKeys = () => keys().filter((_, index) => state.selected.has(index))

/** The point before the chosen ones and the one after them. */
function beside() {
  const chosen = [...state.selected].sort((a, b) => a - b)
  return [keys()[chosen[0] - 1], keys()[chosen[chosen.length - 1] + 1]]
}

/**
 * An edit that puts points between two others, either of which may be missing.
 * @param {any[]} ends
 * @param {any[]} points
 */
function between([before, after], points) {
  const inside = points.filter(([at]) => (!before || at > before[0]) && (!after || at < after[0]))
  return drawn(state.curve, [before, ...inside, after])
}

/** Apply an edit of the chosen points, and keep those chosen that are at the same places. @param {any[]} points */
async function apply(points) {
  await edit(between(beside(), points))
  const places = points.map(([at]) => at)
  const near = (/** @type {number} */ at) => places.some((each) => Math.abs(each - at) < 0.6 / state.doc.fps)
  state.selected = new Set(keys().flatMap(([at], index) => (near(at) ? [index] : [])))
  show()
}

/** Move the chosen points. @param {number} frames @param {number} shares of the visible range */
export function moveSelected(frames, shares) {
  const [low, high] = state.axis
  const moved = (/** @type {number[]} */ [at, value, ...handles]) => [
    at + frames / state.doc.fps,
    value + shares * (high - low),
    ...handles,
  ]
  return apply(selectedKeys().map(moved))
}

/** Make the chosen points last longer or shorter. @param {number} frames by which the last of them moves */
export function stretchSelected(frames) {
  const points = selectedKeys()
  if (points.length < 2) return
  const [first, last] = [points[0][0], points[points.length - 1][0]]
  const by = (last - first + frames / state.doc.fps) / (last - first)
  const scaled = (/** @type {number} */ each, /** @type {number} */ column) => (column % 2 ? each : each * by)
  if (by > 0) apply(points.map(([at, value, ...handles]) => [first + (at - first) * by, value, ...handles.map(scaled)]))
}

/** Remove the chosen points. */
export function removeSelected() {
  const [before, after] = beside()
  state.selected = new Set()
  if (before && after) edit(drawn(state.curve, [before, after]), before[0])
}

/** Copy the chosen points, or those in the chosen range; they can be pasted into another curve and another clip. */
export function copy() {
  const { low, high } = state.line()
  const range = state.range
  const points = state.selected.size
    ? selectedKeys()
    : keys().filter(([at]) => range && at >= range[0] - 1e-6 && at <= range[1] + 1e-6)
  if (!points.length) return
  const start = points[0][0]
  const share = (/** @type {number} */ each, /** @type {number} */ column) =>
    rounded(column % 2 ? each / (high - low) : each)
  const shares = points.map(([at, value, ...handles]) => [
    rounded(at - start),
    rounded((value - low) / (high - low)),
    ...handles.map(share),
  ])
  localStorage.setItem(PLACE, JSON.stringify(shares))
}

/** Paste what was copied at the cursor, in fractions of the curve's range. */
export function paste() {
  const shares = JSON.parse(localStorage.getItem(PLACE) || "[]")
  const { low, high } = state.line()
  const last = total() - 1 / state.doc.fps
  const points = shares
    .map((/** @type {number[]} */ [at, share, ...handles]) => [
      second() + at,
      low + share * (high - low),
      ...handles.map((each, column) => (column % 2 ? each * (high - low) : each)),
    ])
    .filter((/** @type {number[]} */ [at]) => at <= last + 1e-6)
  if (points.length) edit(drawn(state.curve, points), second())
}

/**
 * The points around one that is moved by `by`, each of which follows by how near it is; all of them for an edit.
 * @param {number} index
 * @param {number[]} point
 * @param {number} reach seconds within which points follow
 */
export function softly(index, point, reach) {
  const all = keys()
  const [at, value] = all[index]
  const near = (/** @type {number} */ other) => Math.max(0, 1 - Math.abs(other - at) / reach)
  const weight = (/** @type {number} */ other) => near(other) ** 2 * (3 - 2 * near(other))
  const moved = all.map(([each, amount, ...handles], number) =>
    number === index ? point : [each, amount + weight(each) * (point[1] - value), ...handles],
  )
  const first = Math.max(0, all.findIndex(([each]) => each > at - reach) - 1)
  const end = all.findLastIndex(([each]) => each < at + reach) + 2
  return drawn(state.curve, moved.slice(first, end))
}
