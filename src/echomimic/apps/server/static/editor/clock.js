// @ts-check
// The cursor, playback, scrubbing, and the visible part of the time line.

import { word } from "../i18n.js"
import { $, clamp, say, second, state, total } from "./state.js"
import { draw, drawCursor, showFrame } from "./show.js"

const FASTEST = 4
const SNIPPET = 90 // milliseconds of sound that are heard where the cursor is
let rate = 0 // of a shuttle backwards, below 0
let scrubbing = 0

/** Move the cursor; by `stride` frames if keys move it, which is steady from the second time on. */
export function go(frame, stride = 0) {
  state.steady = stride !== 0 && stride === state.stride
  state.stride = stride
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

/** Let a short piece of the voice be heard at the cursor. */
export function scrub() {
  const piece = $("scrub")
  if (!$("sound").paused) return
  clearTimeout(scrubbing)
  piece.currentTime = second()
  piece.play().catch(() => {})
  scrubbing = setTimeout(() => piece.pause(), SNIPPET)
}

/** Play or pause, in the chosen range if there is one. @param {number | null} [from] the second to play from */
export function play(from = null) {
  const sound = $("sound")
  if (from === null && !sound.paused) return halt()
  rate = 0
  sound.playbackRate = 1
  const [start, end] = state.range || [0, total()]
  const at = from ?? second()
  const outside = from === null && (at < start - 1e-6 || at >= end - 1.5 / state.doc.fps)
  sound.currentTime = outside ? start : at
  sound.play().catch(say)
}

export function halt() {
  rate = 0
  $("sound").pause()
}

/** J and L: play backwards without sound or forwards, twice as fast with each press. @param {number} way -1 or 1 */
export function shuttle(way) {
  const sound = $("sound")
  if (way > 0) {
    if (sound.paused) return play()
    sound.playbackRate = Math.min(FASTEST, sound.playbackRate * 2)
    return
  }
  sound.pause()
  const running = rate < 0
  rate = running ? Math.max(-FASTEST, rate * 2) : -1
  if (!running) backwards(second(), performance.now())
}

/** @param {number} at @param {number} then */
function backwards(at, then) {
  requestAnimationFrame((now) => {
    if (rate >= 0) return
    const next = at + (rate * (now - then)) / 1000
    if (Math.floor(next * state.doc.fps) !== state.cursor) go(Math.max(0, Math.floor(next * state.doc.fps)))
    if (next > 0) backwards(next, now)
    else rate = 0
  })
}

function follow() {
  const sound = $("sound")
  if (sound.paused) return
  const frame = Math.floor(sound.currentTime * state.doc.fps)
  if (frame !== state.cursor) go(frame)
  if (state.range && sound.currentTime >= state.range[1]) {
    if (!state.loop) return sound.pause()
    sound.currentTime = state.range[0]
  }
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
      if (event === "ended" && state.loop) return play(state.range ? state.range[0] : 0)
      follow()
    })
  }
}
