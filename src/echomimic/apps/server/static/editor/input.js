// @ts-check
// Pointer and keyboard input.

import { $, clamp, state, total } from "./state.js"
import { change, edit } from "./change.js"
import { go, play, zoom } from "./clock.js"
import { addKey, choose, mark, nudge, otherCurve, removeKey, scaled, step } from "./points.js"
import { draw, show } from "./show.js"
import { moment, valueAt } from "./timeline.js"

export function setUpStrips() {
  const when = (event) => {
    const box = $("timeline").getBoundingClientRect()
    return clamp(moment(state, event.clientX - box.left, box.width), 0, total())
  }
  $("wave").addEventListener("pointerdown", (event) => {
    const from = when(event)
    if (!event.shiftKey) return play(from)
    $("wave").setPointerCapture(event.pointerId)
    $("wave").onpointermove = (move) => {
      const to = when(move)
      state.range = [Math.min(from, to), Math.max(from, to) + 1e-3]
      show()
    }
    $("wave").onpointerup = () => {
      $("wave").onpointermove = $("wave").onpointerup = null
    }
  })
  $("timeline").addEventListener("pointerdown", (event) => {
    if (!event.target.classList.contains("key")) {
      choose(-1)
      go(when(event) * state.doc.fps)
    }
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
  if (target.closest("select, video")) return true
  if (target.closest("input[type=range]")) return /^(Arrow|Home|End|Page)/.test(key)
  return key === " " && Boolean(target.closest("button:not(.key), a, summary, input"))
}

// `other` switches between face and hands.
export function setUpKeyboard(other) {
  document.addEventListener("keydown", (event) => {
    const control = event.ctrlKey || event.metaKey
    const target = /** @type {Element} */ (event.target)
    if (!state.doc || target.closest("#begin") || (!control && isTheirs(event))) return
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
})

function plain(event, other) {
  const fine = event.shiftKey ? 0.01 : 0.05,
    many = event.shiftKey ? 10 : 1,
    chosen = state.key >= 0
  const remove = () => chosen && removeKey()
  return {
    " ": () => play(),
    ArrowLeft: () => (event.altKey && chosen ? nudge(-1, 0) : go(state.cursor - many)),
    ArrowRight: () => (event.altKey && chosen ? nudge(1, 0) : go(state.cursor + many)),
    ArrowUp: () => (chosen ? nudge(0, fine) : otherCurve(-1)),
    ArrowDown: () => (chosen ? nudge(0, -fine) : otherCurve(1)),
    Home: () => go(0),
    End: () => go(state.doc.frames - 1),
    ",": () => step(-1),
    ".": () => step(1),
    "<": () => step(-1),
    ">": () => step(1),
    k: () => addKey(state.cursor / state.doc.fps),
    Delete: remove,
    Backspace: remove,
    i: () => mark(false),
    o: () => mark(true),
    m: () => edit(scaled(0)),
    h: other,
    "+": () => zoom(0.7),
    "-": () => zoom(1 / 0.7),
    Escape: () => {
      state.key = -1
      state.range = null
      show()
    },
  }
}
