// @ts-check
// Pointer and keyboard input.

import { $, clamp, state, total } from "./state.js"
import { change } from "./change.js"
import { go, halt, play, scrub, shuttle, zoom } from "./clock.js"
import { addKey, choose, mark, nudge, otherCurve, removeKey, step, toggleMute } from "./points.js"
import { draw, show } from "./show.js"
import { boxed, copy, paste, stretchSelected } from "./selection.js"
import { turnTangents } from "./tangents.js"
import { moment, valueAt } from "./timeline.js"

const LEAST = 6 // pixels from which a press is a drag

/**
 * Follow one finger or the mouse on a strip; two fingers zoom and move the visible part instead.
 * @param {HTMLElement} strip
 * @param {(event: any) => {move: (event: any) => void, end: () => void} | null} begin
 */
function follow(strip, begin) {
  /** @type {Map<number, number>} */
  const fingers = new Map()
  /** @type {{move: (event: any) => void, end: () => void} | null} */
  let one = null
  strip.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event.clientX)
    one = fingers.size === 1 ? begin(event) : null
    if (one || fingers.size > 1) strip.setPointerCapture(event.pointerId)
  })
  strip.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return
    if (fingers.size > 1) pinch(fingers, event)
    else one?.move(event)
    fingers.set(event.pointerId, event.clientX)
  })
  for (const kind of /** @type {const} */ (["pointerup", "pointercancel"]))
    strip.addEventListener(kind, (event) => {
      fingers.delete(event.pointerId)
      if (kind === "pointerup") one?.end()
      one = null
    })
}

/** @param {Map<number, number>} fingers where they were @param {PointerEvent} event where one of them is now */
function pinch(fingers, event) {
  const box = $("timeline").getBoundingClientRect()
  const before = [...fingers.values()].slice(0, 2)
  const after = [...fingers.keys()]
    .slice(0, 2)
    .map((id) => (id === event.pointerId ? event.clientX : fingers.get(id) || 0))
  const [was, is] = [before, after].map(([a, b]) => Math.max(20, Math.abs(a - b)))
  const middle = (/** @type {number[]} */ [a, b]) => moment(state, (a + b) / 2 - box.left, box.width)
  const at = middle(before)
  zoom(was / is, at)
  state.view.start = clamp(state.view.start + at - middle(after), 0, Math.max(0, total() - state.view.span))
  draw()
}

export function setUpStrips() {
  const when = (event) => {
    const box = $("timeline").getBoundingClientRect()
    return clamp(moment(state, event.clientX - box.left, box.width), 0, total())
  }
  follow($("wave"), (event) => {
    const from = when(event)
    let dragged = false
    return {
      move: (move) => {
        dragged ||= Math.abs(move.clientX - event.clientX) > LEAST
        if (!dragged) return
        const to = when(move)
        state.range = [Math.min(from, to), Math.max(from, to) + 1e-3]
        show()
      },
      end: () => dragged || play(from),
    }
  })
  follow($("timeline"), (event) => {
    if (event.target.closest(".key, .handle")) return null
    if (event.altKey) return boxed(event, when)
    choose(-1)
    const move = (/** @type {PointerEvent} */ at) => {
      go(when(at) * state.doc.fps)
      scrub()
    }
    move(event)
    return { move, end: () => {} }
  })
  $("timeline").addEventListener("dblclick", (event) => {
    const box = $("timeline").getBoundingClientRect(),
      line = state.line()
    addKey(when(event), clamp(valueAt(state.axis, event.clientY - box.top, box.height), line.low, line.high))
  })
  for (const strip of [$("wave"), $("timeline")])
    strip.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault()
        if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          state.view.start = clamp(
            state.view.start + ((event.deltaX || event.deltaY) / 800) * state.view.span,
            0,
            total() - state.view.span,
          )
          draw()
        } else zoom(Math.exp(event.deltaY / 400), when(event))
      },
      { passive: false },
    )
}

// Whether the focused element needs a key itself. A slider and a list keep the focus after a click, but not all keys.
function isTheirs({ key, target }) {
  if (target.closest("select, video, textarea, input:not([type=range], [type=checkbox], [type=radio])")) return true
  if (target.closest("input[type=range]")) return /^(Arrow|Home|End|Page)/.test(key)
  return key === " " && Boolean(target.closest("button:not(.key), a, summary, input"))
}

// `other` switches between face and hands.
export function setUpKeyboard(other) {
  document.addEventListener("keydown", (event) => {
    const control = event.ctrlKey || event.metaKey
    const target = /** @type {Element} */ (event.target)
    if (!state.doc || target.closest("#begin, textarea, input[size]") || (!control && isTheirs(event))) return
    const act = (control ? withControl(event) : plain(event, other))[event.key]
    if (act) {
      event.preventDefault()
      act()
    }
  })
}

const withControl = (event) => ({
  z: () => change(event.shiftKey ? "/redo" : "/undo"),
  Z: () => change("/redo"),
  y: () => change("/redo"),
  s: () => $("save").click(),
  c: copy,
  v: paste,
})

/** Move the cursor by frames, and let it be heard. @param {number} by */
function stepped(by) {
  go(state.cursor + by, by)
  scrub()
}

function plain(event, other) {
  const fine = event.shiftKey ? 0.01 : 0.05,
    many = event.shiftKey ? 10 : 1,
    chosen = state.key >= 0 || state.selected.size > 0
  const remove = () => chosen && removeKey()
  return {
    " ": () => play(),
    ArrowLeft: () => (event.altKey && chosen ? nudge(-1, 0) : stepped(-many)),
    ArrowRight: () => (event.altKey && chosen ? nudge(1, 0) : stepped(many)),
    ArrowUp: () => (chosen ? nudge(0, fine) : otherCurve(-1)),
    ArrowDown: () => (chosen ? nudge(0, -fine) : otherCurve(1)),
    Home: () => go(0),
    End: () => go(state.doc.frames - 1),
    ",": () => step(-1),
    ".": () => step(1),
    "<": () => step(-1),
    ">": () => step(1),
    n: () => addKey(state.cursor / state.doc.fps),
    t: turnTangents,
    j: () => shuttle(-1),
    k: halt,
    l: () => shuttle(1),
    Delete: remove,
    Backspace: remove,
    i: () => mark(false),
    o: () => mark(true),
    m: toggleMute,
    h: other,
    "[": () => stretchSelected(-1),
    "]": () => stretchSelected(1),
    "+": () => zoom(0.7),
    "-": () => zoom(1 / 0.7),
    Escape: () => {
      state.key = -1
      state.selected = new Set()
      state.nudged = null
      state.range = null
      show()
    },
  }
}
