// @ts-check
// Drags a hand in the picture: the wrist moves at the cursor, and eases to its old place before and after.

import { $, clamp, second, state, total } from "./state.js"
import { edit, letGo, tryOut } from "./change.js"
import { drawn, pick } from "./points.js"
import { draw, showFrame } from "./show.js"

const REACH = 0.2,
  EASE = 0.35 // fraction of the picture around the wrist; seconds before and after

// The position of the pointer as a fraction of the picture, which is fitted into its box.
function place(event) {
  const box = $("frame").getBoundingClientRect(),
    { width, height } = state.doc,
    scale = Math.min(box.width / width, box.height / height)
  return [
    (event.clientX - box.left - (box.width - width * scale) / 2) / (width * scale),
    (event.clientY - box.top - (box.height - height * scale) / 2) / (height * scale),
  ]
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

export function setUpGrip() {
  const frame = $("frame")
  frame.addEventListener("dragstart", (event) => event.preventDefault())
  frame.addEventListener("pointerdown", (event) => {
    const from = state.kind === "hands" && place(event),
      side = from && nearest(from)
    if (!side) return
    const start = wrist(side),
      was = { ...state.doc.curves }
    /** @type {any} */
    let lines = null,
      curve = state.curve
    frame.setPointerCapture(event.pointerId)
    frame.onpointermove = (move) => {
      const by = place(move).map((each, axis) => each - from[axis])
      curve = `${side}_${Math.abs(by[0]) > Math.abs(by[1]) ? "x" : "y"}`
      lines = ["x", "y"].map((axis, number) => line(`${side}_${axis}`, start[number] + by[number], was))
      tryOut(lines)
    }
    frame.onpointerup = frame.onpointercancel = (end) => {
      frame.onpointermove = frame.onpointerup = frame.onpointercancel = null
      letGo()
      if (!lines || end.type !== "pointerup") {
        draw()
        return showFrame()
      }
      pick(curve)
      edit(lines, second())
    }
  })
}
