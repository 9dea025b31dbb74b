// @ts-check
// The voice on the page: its wave form, a part of it chosen by begin and end, and recordings by microphone and camera.

import { errorLine, make } from "./dom.js"
import { word } from "./i18n.js"

const RATE = 24_000
const LEAST = 0.2 // seconds that a part has at least

/** The sound of a file as samples of one channel. @param {File} file */
async function decode(file) {
  const context = new OfflineAudioContext(1, 1, RATE)
  const sound = await context.decodeAudioData(await file.arrayBuffer())
  const mixed = new Float32Array(sound.length)
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    const samples = sound.getChannelData(channel)
    for (let i = 0; i < samples.length; i++) mixed[i] += samples[i] / sound.numberOfChannels
  }
  return mixed
}

/** @param {Float32Array} samples @param {string} name @returns {File} a WAV file of 16 bits */
function wav(samples, name) {
  const data = new DataView(new ArrayBuffer(44 + 2 * samples.length))
  const text = (/** @type {number} */ at, /** @type {string} */ letters) =>
    [...letters].forEach((letter, k) => data.setUint8(at + k, letter.charCodeAt(0)))
  text(0, "RIFF")
  data.setUint32(4, 36 + 2 * samples.length, true)
  text(8, "WAVEfmt ")
  data.setUint32(16, 16, true)
  data.setUint16(20, 1, true)
  data.setUint16(22, 1, true)
  data.setUint32(24, RATE, true)
  data.setUint32(28, 2 * RATE, true)
  data.setUint16(32, 2, true)
  data.setUint16(34, 16, true)
  text(36, "data")
  data.setUint32(40, 2 * samples.length, true)
  samples.forEach((value, k) => data.setInt16(44 + 2 * k, Math.max(-1, Math.min(1, value)) * 32767, true))
  return new File([data.buffer], name, { type: "audio/wav" })
}

/** @param {HTMLCanvasElement} canvas @param {number[]} peaks @param {number[]} part fractions of the whole */
function draw(canvas, peaks, [from, to]) {
  const { width, height } = canvas
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"))
  const style = getComputedStyle(document.documentElement)
  pen.clearRect(0, 0, width, height)
  pen.fillStyle = style.getPropertyValue("--range")
  pen.fillRect(from * width, 0, (to - from) * width, height)
  pen.fillStyle = style.getPropertyValue("--wave")
  peaks.forEach((peak, k) => {
    const tall = Math.max(1, peak * height)
    pen.fillRect((k / peaks.length) * width, (height - tall) / 2, Math.max(1, width / peaks.length - 0.5), tall)
  })
}

/**
 * The wave form of a voice with handles for begin and end.
 * @param {any} said what the server says of the voice
 * @param {File} file
 * @param {HTMLAudioElement} sound
 * @param {(file: File) => void} take called with the part that is kept
 */
export function waveForm({ seconds, peaks }, file, sound, take) {
  const canvas = make("canvas", { width: 600, height: 64, role: "img", "aria-label": word("wave_form") })
  const ends = [0, seconds]
  const sliders = ["trim_start", "trim_end"].map((key, index) => {
    const values = { type: "range", min: 0, max: seconds, step: 0.01, value: ends[index], "aria-label": word(key) }
    return make("input", values)
  })
  const line = make("span", { className: "soft" })
  const keep = make("button", { type: "button", id: "trim", disabled: true }, word("trim"))
  const show = () => {
    draw(
      canvas,
      peaks,
      ends.map((at) => at / seconds),
    )
    line.textContent = word("range", { start: ends[0].toFixed(2), end: ends[1].toFixed(2) })
    keep.disabled = ends[0] < 0.005 && ends[1] > seconds - 0.005
  }
  sliders.forEach((slider, index) => {
    slider.oninput = () => {
      ends[index] = +slider.value
      if (ends[1] - ends[0] < LEAST) ends[index] = index ? ends[0] + LEAST : ends[1] - LEAST
      ends[index] = Math.max(0, Math.min(seconds, ends[index]))
      slider.value = ends[index]
      show()
    }
  })
  canvas.onpointerdown = (/** @type {PointerEvent} */ event) => {
    sound.currentTime = (event.offsetX / canvas.clientWidth) * seconds
    sound.play().catch(() => {})
  }
  sound.addEventListener("play", () => {
    if (sound.currentTime < ends[0]) sound.currentTime = ends[0]
  })
  sound.addEventListener("timeupdate", () => sound.currentTime >= ends[1] && ends[1] < seconds && sound.pause())
  keep.onclick = async () => {
    keep.disabled = true
    try {
      const samples = await decode(file)
      const name = file.name.replace(/(\.[^.]*)?$/, ` ${ends.map((at) => at.toFixed(2)).join("-")}.wav`)
      take(wav(samples.subarray(Math.round(ends[0] * RATE), Math.round(ends[1] * RATE)), name))
    } catch {
      line.replaceChildren(errorLine({ code: "sound_unusable", message: word("cannot_trim") }))
    }
  }
  show()
  return make("div", { className: "trim" }, canvas, ...sliders, make("div", { className: "row" }, keep, line))
}

/**
 * Record the microphone, or take a picture with the camera.
 * @param {"portrait" | "voice"} input
 * @param {HTMLElement} place where the controls are shown
 * @param {(file: File) => void} take
 */
export async function capture(input, place, take) {
  try {
    const stream = await navigator.mediaDevices.getUserMedia(
      input === "voice" ? { audio: true } : { video: { width: { ideal: 1280 }, facingMode: "user" } },
    )
    const stop = () => {
      for (const track of stream.getTracks()) track.stop()
      place.replaceChildren()
    }
    if (input === "voice") record(stream, place, stop, take)
    else photograph(stream, place, stop, take)
  } catch {
    place.replaceChildren(errorLine({ code: "refused", message: word("no_capture") }))
  }
}

/** @param {MediaStream} stream @param {HTMLElement} place @param {() => void} stop @param {(file: File) => void} take */
function record(stream, place, stop, take) {
  const recorder = new MediaRecorder(stream)
  /** @type {Blob[]} */
  const parts = []
  recorder.ondataavailable = ({ data }) => parts.push(data)
  recorder.onstop = () => {
    stop()
    const type = recorder.mimeType.split(";")[0]
    take(new File(parts, `${word("recording")}.${type.split("/")[1] || "webm"}`, { type }))
  }
  const end = make("button", { type: "button", className: "primary", onclick: () => recorder.stop() }, word("stop"))
  place.replaceChildren(make("span", { role: "status" }, word("recording_now")), end)
  recorder.start()
}

/** @param {MediaStream} stream @param {HTMLElement} place @param {() => void} stop @param {(file: File) => void} take */
function photograph(stream, place, stop, take) {
  const view = make("video", { srcObject: stream, autoplay: true, muted: true, playsInline: true })
  view.setAttribute("aria-label", word("camera"))
  const shoot = make("button", { type: "button", className: "primary" }, word("take_picture"))
  shoot.onclick = () => {
    const canvas = make("canvas", { width: view.videoWidth, height: view.videoHeight })
    canvas.getContext("2d").drawImage(view, 0, 0)
    canvas.toBlob((/** @type {Blob} */ blob) => {
      stop()
      take(new File([blob], `${word("camera")}.png`, { type: "image/png" }))
    }, "image/png")
  }
  place.replaceChildren(view, shoot, make("button", { type: "button", onclick: stop }, word("cancel")))
}
