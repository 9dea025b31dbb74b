// @ts-check
// Two videos side by side, and a handle for the framing of a portrait: loaded when they are first used.

import { make } from "./dom.js"
import { word } from "./i18n.js"

/**
 * Show two videos side by side, which play together; a line between them wipes from one to the other.
 * @param {{title: string, src: string}[]} pair
 */
export function compare(pair) {
  const videos = pair.map(({ src, title }) => {
    const video = make("video", { src, loop: true, playsInline: true, preload: "auto" })
    video.setAttribute("aria-label", title)
    return video
  })
  videos[1].muted = true
  const play = make("button", { type: "button", className: "primary" }, word("play"))
  play.onclick = () => {
    const paused = videos[0].paused
    videos[1].currentTime = videos[0].currentTime
    for (const video of videos) paused ? video.play().catch(() => {}) : video.pause()
    play.textContent = word(paused ? "pause" : "play")
  }
  videos[0].ontimeupdate = () => {
    if (Math.abs(videos[0].currentTime - videos[1].currentTime) > 0.1) videos[1].currentTime = videos[0].currentTime
  }
  const wipe = make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": word("wipe") })
  const stage = make("div", { className: "pair" }, ...videos)
  const over = make("input", { type: "checkbox" })
  const lay = () => {
    stage.classList.toggle("over", over.checked)
    wipe.hidden = !over.checked
    videos[1].style.clipPath = over.checked ? `inset(0 0 0 ${wipe.value}%)` : ""
  }
  wipe.oninput = over.onchange = lay
  lay()
  const dialog = make(
    "dialog",
    { id: "compare", "aria-label": word("compare") },
    make("p", {}, pair.map(({ title }) => title).join("  |  ")),
    stage,
    wipe,
    make(
      "div",
      { className: "row" },
      play,
      make("label", {}, over, " ", word("wipe")),
      make("button", { type: "button", onclick: () => dialog.close() }, word("close_dialog")),
    ),
  )
  dialog.onclose = () => dialog.remove()
  document.body.append(dialog)
  dialog.showModal()
}

/**
 * A handle at the corner of the part that the video shows: a drag or the arrow keys change the margin around the face.
 * @param {HTMLElement} view the picture
 * @param {any} said what the server says of the portrait
 * @param {(framing: "full" | "crop", margin: number) => void} take
 */
export function framingHandle(view, { width, height, crop, face }, take) {
  const whole = crop.width >= width && crop.height >= height
  const size = Math.max(face.width, face.height)
  const now = whole ? Math.min(width, height) : crop.width
  const handle = make("button", { type: "button", className: "corner", title: word("framing_handle") })
  handle.setAttribute("aria-label", word("framing_handle"))
  const place = (/** @type {number} */ x, /** @type {number} */ y) => {
    handle.style.left = `${Math.min(97, (100 * x) / width)}%`
    handle.style.top = `${Math.min(97, (100 * y) / height)}%`
  }
  place(crop.x + crop.width, crop.y + crop.height)
  const finish = (/** @type {number} */ side) => {
    const margin = Math.round(20 * Math.max(0, Math.min(3, (side / size - 1) / 2))) / 20
    if (side >= Math.min(width, height) * 0.98) take("full", margin)
    else take("crop", margin)
  }
  handle.onpointerdown = (/** @type {PointerEvent} */ event) => {
    event.preventDefault()
    const scale = width / view.getBoundingClientRect().width
    let side = now
    handle.setPointerCapture(event.pointerId)
    handle.onpointermove = (/** @type {PointerEvent} */ move) => {
      const by = Math.max(move.clientX - event.clientX, move.clientY - event.clientY) * scale
      side = now + 2 * by
      place(crop.x + crop.width + by, crop.y + crop.height + by)
    }
    handle.onpointerup = () => {
      handle.onpointermove = handle.onpointerup = null
      if (side !== now) finish(side)
    }
  }
  handle.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    const way = /^Arrow(Up|Right)$/.test(event.key) ? 1 : /^Arrow(Down|Left)$/.test(event.key) ? -1 : 0
    if (!way) return
    event.preventDefault()
    finish(now + 0.1 * way * size)
  }
  view.append(handle)
}
