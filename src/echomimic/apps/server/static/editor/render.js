// @ts-check
// Renders the edited motion with any preset as a job of the queue: progress, a recent frame, the video.

import { make, noteLines } from "../dom.js"
import { ask as request, followJob } from "../http.js"
import { word } from "../i18n.js"
import { addTake } from "./takes.js"
import { showWarnings } from "./show.js"
import { $, ask, rounded, say, session, state } from "./state.js"

const PLACE = "echomimic-editor-job"
const QUALITIES = ["draft", "balanced", "best"]
/** @type {any} */
let running = null

/** Show what each preset takes of the edits, and why some cannot run here. @param {string} [noHands] */
export function layPresets(noHands = "") {
  const chosen = $("preset").value
  const wrong = new Map()
  const options = state.config.presets.map((/** @type {any} */ each) => {
    const why = [...each.fix, ...(each.takes === "hands" && noHands ? [noHands] : [])]
    for (const line of why) wrong.set(line, [...(wrong.get(line) || []), each.name])
    const text = `${each.name}${word("colon")}${word(`takes_${each.takes}`)}${why.length ? ` (${word("not_here")})` : ""}`
    return make("option", { value: each.name, disabled: why.length > 0 }, text)
  })
  $("preset").replaceChildren(...options)
  if (options.some((/** @type {any} */ each) => each.value === chosen && !each.disabled)) $("preset").value = chosen
  $("fixes").hidden = !wrong.size
  const lines = [...wrong].map(([line, names]) =>
    make("li", {}, `${names.join(", ")}${word("colon")}`, make("code", {}, line)),
  )
  $("fixes")
    .querySelector("ul")
    .replaceChildren(...lines)
}

/** Choose a preset that takes what is being edited, if the chosen one does not and one can run here. */
export function suggestPreset() {
  const suits = (/** @type {string} */ name) =>
    (state.config.presets.find((/** @type {any} */ each) => each.name === name)?.takes === "hands") ===
    (state.kind === "hands")
  const ready = [...$("preset").options].find((each) => !each.disabled && suits(each.value))
  if (ready && !suits($("preset").value)) $("preset").value = ready.value
  showWarnings()
}

export function setUpRender() {
  layPresets()
  $("quality").replaceChildren(...QUALITIES.map((name) => new Option(word(name), name)))
  $("quality").value = "balanced"
  $("preset").onchange = showWarnings
  $("render").onclick = () => render({ preset: $("preset").value, options: qualityOptions() })
  $("render-span").onclick = () => render({ span: state.range?.map(rounded), base: lastTake()?.job })
  $("cancel").onclick = () => running && request(`${running.links.self}/cancel`, { method: "POST" }).catch(say)
  const [whose, before] = (sessionStorage.getItem(PLACE) || "").split(" ") // the page was loaded anew in mid-render
  if (whose === state.id) request(`/v1/animations/${before}`).then(follow).catch(rest)
}

/** The newest take that has a video, a span of which can be rendered again. */
const lastTake = () => state.clip.takes.findLast((/** @type {any} */ { job }) => job)

/** Show what can be rendered now. @param {boolean} [busy] */
export function showRender(busy = running !== null) {
  $("render").disabled = busy
  $("render-span").disabled = busy || !state.range || !lastTake()
}

/** The options of the chosen quality; a size counts only if the picture is larger. */
function qualityOptions() {
  const preset = state.config.presets.find((/** @type {any} */ each) => each.name === $("preset").value)
  const options = { ...preset.qualities[$("quality").value] }
  if (options.size >= state.clip.longer || "size" in state.clip.given) delete options.size
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [name, String(value)]))
}

/** @param {any} wanted */
async function render(wanted) {
  say()
  showRender(true)
  try {
    follow(await ask(session("/render"), wanted))
  } catch (error) {
    say(error)
    rest()
  }
}

function rest() {
  running = null
  sessionStorage.removeItem(PLACE)
  showRender()
  $("cancel").hidden = $("bar").hidden = $("recent").hidden = true
  $("result").textContent = ""
}

/** @param {any} job */
function follow(job) {
  sessionStorage.setItem(PLACE, `${state.id} ${job.id}`)
  running = job
  showRender()
  $("cancel").hidden = $("bar").hidden = false
  followJob(job, {
    update: showJob,
    preview: (image) => {
      Object.assign($("recent"), { src: image, hidden: false })
    },
  })
}

/** @param {any} job */
function showJob(job) {
  if (!running) return
  running = job
  const { progress, position, request: asked } = job
  if (["queued", "running"].includes(job.state)) {
    if (progress.total) Object.assign($("bar"), { max: progress.total, value: progress.done })
    else $("bar").removeAttribute("value")
    const engine = state.config.presets.find((/** @type {any} */ each) => each.name === asked.preset)?.engine
    $("result").textContent = progressLine(job, engine === "diffusion", position)
    return
  }
  rest()
  if (job.state === "failed") return say({ message: job.error.detail, code: job.error.code, status: job.error.status })
  if (job.state === "cancelled") $("result").textContent = word("state.cancelled")
  else {
    showVideo(job)
    addTake(job)
    showRender()
  }
}

/** @param {any} job @param {boolean} hasNetwork @param {number} position */
function progressLine({ progress, state: now }, hasNetwork, position) {
  const suffix = hasNetwork ? "_network" : ""
  if (now === "queued" && position > 1) return word("waiting", { ahead: position - 1 })
  const speed = progress.speed >= 10 ? progress.speed.toFixed(0) : progress.speed.toPrecision(2)
  const values = { ...progress, speed, left: Math.ceil(progress.seconds_left ?? 0) }
  return word(`${progress.speed ? "running" : "starting"}${suffix}`, values)
}

/** @param {any} job */
function showVideo(job) {
  sessionStorage.setItem(PLACE, `${state.id} ${job.id}`)
  const address = job.links.result
  const name = `${stem(state.clip.portrait)}-${stem(state.clip.voice)}.${job.request.format}`
  Object.assign($("video"), { src: address, hidden: false })
  $("video").scrollIntoView({ block: "nearest" })
  Object.assign($("download"), { href: address, download: name, hidden: false })
  const { result } = job
  const values = { ...result, seconds: result.seconds.toFixed(2), took: result.took.toFixed(1) }
  $("result").replaceChildren(make("span", {}, word("done", values)), noteLines(result.notes || []))
  $("video")
    .play()
    .catch(() => {})
}

/** @param {string} name */
const stem = (name) => name.replace(/\.[^.]*$/, "")
