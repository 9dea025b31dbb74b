// @ts-check
// The cursor, playback, and the visible part of the time line.

import { word } from "../i18n.js"
import { $, clamp, say, second, state, total } from "./state.js"
import { draw, drawCursor, showFrame } from "./show.js"

export function go(frame) {
  state.cursor = clamp(Math.round(frame), 0, state.doc.frames - 1)
  const { view } = state,
    at = second()
  if (at < view.start || at > view.start + view.span) {
    view.start = clamp(at - view.span * 0.1, 0, Math.max(0, total() - view.span))
    draw()
  }
  drawCursor()
  showFrame()
}

/** @param {number | null} [from] the second to play from */
export function play(from = null) {
  const sound = $("sound")
  if (from === null && !sound.paused) return sound.pause()
  sound.currentTime = from ?? (state.cursor >= state.doc.frames - 1 ? 0 : second())
  sound.play().catch(say)
}

function follow() {
  if ($("sound").paused) return
  const frame = Math.floor($("sound").currentTime * state.doc.fps)
  if (frame !== state.cursor) go(frame)
  requestAnimationFrame(follow)
}

export function zoom(by, at = second()) {
  const { view } = state,
    span = clamp(view.span * by, Math.min(0.5, total()), total())
  view.start = clamp(at - ((at - view.start) * span) / view.span, 0, total() - span)
  view.span = span
  draw()
}

export function setUpSound() {
  for (const [event, name] of [
    ["play", "pause"],
    ["pause", "play"],
    ["ended", "play"],
  ]) {
    $("sound").addEventListener(event, () => {
      $("play").textContent = word(name)
      follow()
    })
  }
}
