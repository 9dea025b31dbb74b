// @ts-check
// The queue and the finished videos: jobs are sent, followed, cancelled, and sent again if the server has lost them.

import { $, errorLine, make, noteLines } from "./dom.js"
import { ask, FINAL, followJob, look, upload } from "./http.js"
import { language, word } from "./i18n.js"
import { drop, keep, recall } from "./store.js"

const HOME = "/v1/animations"
const BUSY = 1000
const IDLE = 2500
const HIDDEN = 10000

/**
 * @typedef {object} Entry
 * @property {string} key its name on this page; the job's id once the server has it
 * @property {any} job the job as the server describes it; null before it has one
 * @property {any} inputs files and settings, if this browser has them
 * @property {HTMLElement} card
 * @property {AbortController} [sending]
 * @property {() => void} [unfollow] ends following its events
 * @property {boolean} [mine] whether this tab has asked for it
 */

/** @type {Map<string, Entry>} */
const entries = new Map()
/**
 * @type {{edit: (inputs: any) => void, again: (inputs: any) => void, settings: (inputs: any) => void, online: () => void,
 *   disk: number, hours: number}}
 */
let hooks
let away = false

/** @type {Set<string>} */
let networks = new Set()

/** @param {any[]} presets @param {typeof hooks} given what the page does when a button of a video is pressed, or the server is back */
export function setUpJobs(presets, given) {
  hooks = given
  networks = new Set(presets.filter((each) => each.engine === "diffusion").map((each) => each.name))
  poll()
  document.addEventListener("visibilitychange", () => document.hidden || soon())
}

/** @type {number | undefined} */
let timer
const soon = () => {
  clearTimeout(timer)
  timer = setTimeout(poll, 0)
}

async function poll() {
  clearTimeout(timer)
  try {
    const { items } = await look(`${HOME}?limit=100`)
    setAway(false)
    await take(items)
  } catch (error) {
    if (!(/** @type {any} */ (error).status)) setAway(true)
  }
  showStorage()
  const busy = away || [...entries.values()].some(({ job }) => job && !FINAL.includes(job.state))
  timer = setTimeout(poll, document.hidden ? HIDDEN : busy ? BUSY : IDLE)
}

/** Say how much is kept here, and for how long. */
function showStorage() {
  const size = [...entries.values()].reduce((sum, { job }) => sum + (job?.result?.bytes || 0), 0)
  const values = { used: (size / 1e6).toFixed(1), limit: Math.round(hooks.disk / 1e6), hours: hooks.hours }
  $("storage").textContent = word("storage", values)
  $("storage").hidden = !size
}

/** @param {boolean} now */
function setAway(now) {
  if (now === away) return
  away = now
  $("offline").textContent = word("offline")
  $("offline").hidden = !now
  if (now) for (const entry of entries.values()) unfollow(entry)
  else hooks.online()
}

/** @param {any[]} items jobs, the newest first */
async function take(items) {
  const seen = new Set(items.map((job) => job.id))
  for (const job of [...items].reverse()) {
    if (!entries.has(job.id)) await adopt(job)
    else update(/** @type {Entry} */ (entries.get(job.id)), job)
  }
  for (const entry of [...entries.values()]) {
    if (!entry.job || seen.has(entry.key)) continue
    if (entry.mine && entry.inputs && !FINAL.includes(entry.job.state))
      send(entry, false) // a new server without our job
    else remove(entry)
  }
}

/** @param {any} job one that is not on the page yet */
async function adopt(job) {
  const inputs = await recall(job.id)
  if (entries.has(job.id)) return
  update(add(job.id, inputs), job)
}

/**
 * @param {string} key
 * @param {any} inputs
 * @returns {Entry}
 */
function add(key, inputs) {
  const card = make("li", { className: "job" })
  const entry = { key, job: null, inputs, card }
  entries.set(key, entry)
  $("jobs").prepend(card)
  $("no-videos").hidden = true
  return entry
}

/** @param {Entry} entry */
function remove(entry) {
  unfollow(entry)
  entries.delete(entry.key)
  pair = pair.filter((each) => each !== entry)
  entry.card.remove()
  drop(entry.key)
  $("no-videos").hidden = entries.size > 0
}

/**
 * Ask for a video.
 * @param {{portrait: File, voice: File, settings: any, form: Record<string, any>}} inputs
 */
export function submit(inputs) {
  const entry = add(`new-${crypto.getRandomValues(new Uint32Array(3)).join("")}`, inputs)
  entry.mine = true
  send(entry, true)
}

/**
 * @param {Entry} entry
 * @param {boolean} first
 */
async function send(entry, first) {
  const { portrait, voice, form } = entry.inputs
  const ticket = first ? entry.key : `again-${entry.key}`
  const body = new FormData()
  for (const [name, value] of Object.entries(form)) body.append(name, String(value))
  body.append("portrait", portrait)
  body.append("speech", voice)
  entry.job = null
  entry.sending = new AbortController()
  showUpload(entry, 0)
  try {
    const job = await upload(HOME, body, (part) => showUpload(entry, part), entry.sending.signal, {
      "Idempotency-Key": ticket,
    })
    entries.delete(entry.key)
    drop(entry.key)
    entry.key = job.id
    entries.get(job.id)?.card.remove()
    entries.set(job.id, entry)
    await keep(job.id, { portrait, voice, settings: entry.inputs.settings, form })
    update(entry, job)
    soon()
  } catch (error) {
    failedToSend(entry, first, error)
  }
}

/**
 * @param {Entry} entry
 * @param {boolean} first
 * @param {any} error
 */
function failedToSend(entry, first, error) {
  if (error.code === "aborted") return remove(entry)
  if (error.code === "offline") {
    setAway(true)
    showUpload(entry, 0)
    setTimeout(() => send(entry, first), BUSY) // the same idempotency key: never two jobs
    return
  }
  fill(entry, [
    errorLine(error),
    make(
      "div",
      { className: "row" },
      button("again", () => hooks.again(entry.inputs)),
      button("remove", () => remove(entry)),
    ),
  ])
}

/**
 * @param {Entry} entry
 * @param {any} job
 */
function update(entry, job) {
  const before = entry.job
  entry.job = job
  if (job.state === "running" && !entry.unfollow && !away) follow(entry)
  if (FINAL.includes(job.state)) unfollow(entry)
  if (FINAL.includes(job.state) && before?.state === job.state) return
  showJob(entry, before)
}

/** @param {Entry} entry */
function follow(entry) {
  entry.unfollow = () => {}
  entry.unfollow = followJob(entry.job, {
    update: (job) => update(entry, job),
    preview: (image) => {
      const picture = entry.card.querySelector("img")
      if (picture) Object.assign(picture, { src: image, hidden: false })
    },
    lost: () => {
      unfollow(entry)
      soon()
    },
  })
}

/** @param {Entry} entry */
function unfollow(entry) {
  entry.unfollow?.()
  entry.unfollow = undefined
}

// ---- what is shown

/** Loads the first frame of a video when it comes into view: a browser has six connections to a server. */
const inView = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue
    inView.unobserve(target)
    target.setAttribute("preload", "metadata")
  }
})

/**
 * @param {string} key
 * @param {() => void} act
 */
const button = (key, act) => make("button", { type: "button", onclick: act }, word(key))

/**
 * @param {Entry} entry
 * @param {Node[]} parts
 */
function fill(entry, parts) {
  entry.card.replaceChildren(make("h3", {}, title(entry)), ...parts)
}

/** @param {Entry} entry */
function title(entry) {
  if (entry.inputs) return [...new Set([stem(entry.inputs.portrait), stem(entry.inputs.voice)])].join(" · ")
  return word("video_of", { time: new Date(entry.job.created).toLocaleTimeString(language) })
}

/** @param {File} file */
const stem = (file) => file.name.replace(/\.[^.]*$/, "")

/**
 * @param {Entry} entry
 * @param {number} part
 */
function showUpload(entry, part) {
  const bar = entry.card.dataset.state === "uploading" && entry.card.querySelector("progress")
  if (bar) {
    bar.value = part
    return
  }
  entry.card.dataset.state = "uploading"
  fill(entry, [
    make("progress", { max: 1, value: part, "aria-label": word("uploading") }),
    make("p", { role: "status" }, word("uploading")),
    make(
      "div",
      { className: "row" },
      button("cancel", () => entry.sending?.abort()),
    ),
  ])
}

/**
 * @param {Entry} entry
 * @param {any} before
 */
function showJob(entry, before) {
  const { job, card } = entry
  card.dataset.state = job.state
  card.dataset.id = job.id
  if (!FINAL.includes(job.state)) return showOpen(entry)
  const line = make("p", { role: "status" }, word(`state.${job.state}`))
  if (job.state === "failed") fill(entry, [failure(job.error), actions(entry)])
  else if (job.state === "cancelled") fill(entry, [line, actions(entry)])
  else showVideo(entry, Boolean(before))
}

/** @param {any} error */
const failure = (error) => errorLine({ message: error.detail, code: error.code, status: error.status })

/** @param {Entry} entry */
function showOpen(entry) {
  if (!entry.card.querySelector("[data-open]")) {
    fill(entry, [
      make("img", { alt: word("preview_alt"), hidden: true }),
      make("progress", { "aria-label": word("progress") }),
      make("p", { role: "status" }),
      make(
        "div",
        { className: "row" },
        button("cancel", () => cancel(entry)),
        button("earlier", () => earlier(entry)),
      ),
    ])
    entry.card.lastElementChild?.setAttribute("data-open", "")
    entry.card.lastElementChild?.lastElementChild?.setAttribute("data-earlier", "")
  }
  showProgress(entry)
}

/** @param {Entry} entry */
function showProgress(entry) {
  const { progress, state, position } = entry.job
  const ahead = entry.card.querySelector("[data-earlier]")
  if (ahead) ahead.toggleAttribute("hidden", !(state === "queued" && position > 1))
  const bar = entry.card.querySelector("progress")
  const line = entry.card.querySelector("[role=status]")
  if (!bar || !line) return
  if (progress.total) Object.assign(bar, { max: progress.total, value: progress.done })
  else bar.removeAttribute("value")
  const values = { ...progress, speed: rounded(progress.speed), left: Math.ceil(progress.seconds_left ?? 0) }
  const suffix = networks.has(entry.job.request.preset) ? "_network" : ""
  if (state === "queued")
    line.textContent = word(position > 1 ? "waiting" : `starting${suffix}`, { ahead: position - 1 })
  else line.textContent = word(`${progress.speed ? "running" : "starting"}${suffix}`, values)
}

/** @param {number} speed */
const rounded = (speed) => (speed >= 10 ? speed.toFixed(0) : speed.toPrecision(2))

/** Let a waiting video be made before the one that waits before it. @param {Entry} entry */
async function earlier(entry) {
  await ask(`/ui/jobs/${entry.key}/earlier`, { method: "POST" }).catch(() => {})
  soon()
}

/** The finished videos that are to be compared. @type {Entry[]} */
let pair = []

/** Choose a video to compare; the second one opens both. @param {Entry} entry @param {HTMLElement} pressed */
async function choose(entry, pressed) {
  const chosen = !pair.includes(entry)
  pair = chosen ? [...pair, entry] : pair.filter((each) => each !== entry)
  pressed.setAttribute("aria-pressed", String(chosen))
  if (pair.length < 2) return
  const { compare } = await import("./gallery.js")
  compare(pair.map((each) => ({ title: each.job ? title(each) : "", src: each.job.links.result })))
  pair = []
  for (const each of document.querySelectorAll("#jobs [aria-pressed]")) each.setAttribute("aria-pressed", "false")
}

/** @param {Entry} entry */
async function cancel(entry) {
  const line = entry.card.querySelector("[role=status]")
  if (line) line.textContent = word("cancelling")
  try {
    update(entry, await ask(`${entry.job.links.self}/cancel`, { method: "POST" }))
  } catch (error) {
    soon()
  }
}

/**
 * @param {Entry} entry
 * @param {boolean} fresh whether it was finished just now
 */
function showVideo(entry, fresh) {
  const { job } = entry
  const animated = job.request.format === "gif"
  const video = animated
    ? make("img", { src: job.links.result, alt: title(entry) })
    : make("video", {
        controls: true,
        loop: false,
        playsInline: true,
        preload: fresh ? "auto" : "none",
        src: job.links.result,
      })
  if (!animated) {
    video.setAttribute("aria-label", title(entry))
    if (!fresh) inView.observe(video)
  }
  const values = { ...job.result, seconds: job.result.seconds.toFixed(2), took: job.result.took.toFixed(1) }
  fill(entry, [
    video,
    make("p", { role: "status" }, word("done", values)),
    ...(job.expires ? [make("p", { className: "soft" }, word("expires", { time: until(job.expires) }))] : []),
    noteLines(job.result.notes || []),
    actions(entry),
  ])
  if (fresh && entry.mine && !animated) video.play().catch(() => {})
}

/** @param {string} when */
const until = (when) => new Date(when).toLocaleString(language, { dateStyle: "short", timeStyle: "short" })

/** @param {Entry} entry */
function actions(entry) {
  const { job, inputs } = entry
  const row = make("div", { className: "row" })
  if (job.state === "succeeded") {
    row.append(button("download", () => download(entry)))
    const side = button("compare", () => choose(entry, side))
    side.setAttribute("aria-pressed", "false")
    if (job.request.format !== "gif") row.append(side)
  }
  if (inputs)
    row.append(
      button("edit", () => hooks.edit(inputs)),
      button("again", () => hooks.again(inputs)),
      button("settings", () => hooks.settings(inputs)),
    )
  row.append(button("remove", () => discard(entry)))
  return row
}

/** Save the video under the names of its inputs: the server knows it by its id only. @param {Entry} entry */
async function download(entry) {
  const { job, inputs } = entry
  const answer = await fetch(job.links.result).catch(() => null)
  if (!answer?.ok) return soon()
  const name = inputs ? title(entry).replace(" · ", "-") : `echomimic-${job.id.slice(0, 8)}`
  const link = make("a", { href: URL.createObjectURL(await answer.blob()), download: `${name}.${job.request.format}` })
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

/** @param {Entry} entry */
async function discard(entry) {
  try {
    await ask(entry.job.links.self, { method: "DELETE" })
  } catch (error) {
    if (!(/** @type {any} */ (error).status)) return
  }
  remove(entry)
}
