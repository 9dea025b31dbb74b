// @ts-check
// Drags a hand, or a part of the face, in the picture: its curves follow at the cursor, and ease to what is beside.

import { make } from "../dom.js"
import { word } from "../i18n.js"
import { $, ask, clamp, newest, rounded, second, session, state, total } from "./state.js"
import { drawn, edit, letGo, tryOut } from "./change.js"
import { pick } from "./points.js"
import { draw, showFrame } from "./show.js"

const REACH = 0.2,
  EASE = 0.35 // fraction of the picture around the wrist; seconds before and after

// The part of the frame's box that the picture covers: left, top, width and height in pixels of the page.
function covered() {
  const box = $("frame").getBoundingClientRect(),
    { naturalWidth, naturalHeight } = $("frame"),
    scale = Math.min(box.width / naturalWidth, box.height / naturalHeight),
    [width, height] = [naturalWidth * scale, naturalHeight * scale]
  return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, width, height }
}

// The position of the pointer as a fraction of the picture, which is fitted into its box.
function place(event) {
  const { left, top, width, height } = covered()
  return [(event.clientX - left) / width, (event.clientY - top) / height]
}

const wrist = (side) => ["x", "y"].map((axis) => state.doc.curves[`${side}_${axis}`][state.cursor])

/** @param {number[]} place */
function nearest([x, y]) {
  const far = (side) => {
    const [a, b] = wrist(side)
    return Math.hypot(a - x, b - y)
  }
  const side = far("left") < far("right") ? "left" : "right"
  return far(side) < REACH ? side : null
}

// `was` holds the curves before the drag, since the current ones change during it.
function line(curve, value, was) {
  const at = second(),
    all = state.doc.keys[curve],
    { low, high } = state.doc.table.find((each) => each.name === curve)
  const sample = (when) => [when, was[curve][Math.round(when * state.doc.fps)]]
  const before = all.findLast(([each]) => each <= at - EASE),
    after = all.find(([each]) => each >= at + EASE)
  const last = total() - 1 / state.doc.fps
  return drawn(curve, [
    before || (at > 0 && sample(0)),
    [at, clamp(value, low, high)],
    after || (at < last - 1e-6 && sample(last)),
  ])
}

// An offset of a curve of the face at the cursor, which fades before and after it.
function offset(curve, by) {
  const at = second(),
    { low, high } = state.doc.table.find((each) => each.name === curve),
    now = state.doc.curves[curve][state.cursor]
  const keys = [
    [at - EASE, 0],
    [at, clamp(now + by, low, high) - now],
    [at + EASE, 0],
  ]
  return { op: "shift_curve", curve, keys: keys.map((key) => key.map(rounded)) }
}

/**
 * Follow a drag: `made` gives the edits for how far it has gone, in fractions of the picture.
 * @param {HTMLElement} target
 * @param {PointerEvent} event
 * @param {(by: number[]) => {edits: any[], curve: string}} made
 */
function follow(target, event, made) {
  const from = place(event)
  /** @type {any} */
  let last = null
  target.setPointerCapture(event.pointerId)
  target.onpointermove = (move) => {
    last = made(place(move).map((each, axis) => each - from[axis]))
    if (last.edits.length) tryOut(last.edits)
  }
  target.onpointerup = target.onpointercancel = (end) => {
    target.onpointermove = target.onpointerup = target.onpointercancel = null
    letGo()
    if (!last?.edits.length || end.type !== "pointerup") {
      draw()
      return showFrame()
    }
    pick(last.curve)
    edit(last.edits, second())
  }
}

/** Show the parts of the face that can be dragged, at the cursor. */
export const showHandles = newest(async () => {
  if (state.kind !== "face" || !$("handles-shown").checked) return $("handles").replaceChildren()
  try {
    const found = await ask(session(`/face/handles/${state.cursor}?close=${$("close").checked}`))
    const home = $("frame").getBoundingClientRect(),
      { left, top, width, height } = covered()
    $("handles").replaceChildren(
      ...found.map((/** @type {any} */ handle) => {
        const label = word(`handle.${handle.name}`)
        const dot = make("button", { type: "button", className: "handle", title: label, "aria-label": label })
        dot.dataset.name = handle.name
        dot.style.left = `${left - home.left + handle.x * width}px`
        dot.style.top = `${top - home.top + handle.y * height}px`
        dot.onpointerdown = (/** @type {PointerEvent} */ event) => follow(dot, event, (by) => pulled(handle, by))
        dot.onkeydown = (/** @type {KeyboardEvent} */ event) => nudged(handle, event)
        return dot
      }),
    )
  } catch {
    $("handles").replaceChildren()
  }
})

/** @param {any} handle @param {number[]} by */
function pulled(handle, by) {
  const ways = [handle.across, handle.down].map((way, axis) => way && { curve: way[0], by: way[1] * by[axis] })
  const larger = Math.abs(by[0]) > Math.abs(by[1]) && ways[0] ? ways[0] : ways[1] || ways[0]
  const edits = ways.filter((way) => way && Math.abs(way.by) > 1e-3).map((way) => offset(way.curve, way.by))
  return { edits, curve: larger.curve }
}

/** @param {any} handle @param {KeyboardEvent} event */
function nudged(handle, event) {
  const ways = /** @type {Record<string, number[]>} */ ({
    ArrowLeft: [-0.004, 0],
    ArrowRight: [0.004, 0],
    ArrowUp: [0, -0.004],
    ArrowDown: [0, 0.004],
  })
  if (!ways[event.key]) return
  event.preventDefault()
  event.stopPropagation()
  const { edits } = pulled(handle, ways[event.key])
  if (edits.length) edit(edits)
}

export function setUpGrip() {
  const frame = $("frame")
  $("handles-shown").onchange = () => showHandles()
  frame.addEventListener("dragstart", (event) => event.preventDefault())
  frame.addEventListener("pointerdown", (event) => {
    const from = state.kind === "hands" && place(event),
      side = from && nearest(from)
    if (!side) return
    const start = wrist(side),
      was = { ...state.doc.curves }
    follow(frame, event, (by) => ({
      edits: ["x", "y"].map((axis, number) => line(`${side}_${axis}`, start[number] + by[number], was)),
      curve: `${side}_${Math.abs(by[0]) > Math.abs(by[1]) ? "x" : "y"}`,
    }))
  })
}
