// @ts-check
// Takes: every render with its edits, to go back to, to compare, and to draw behind the curve; and project files.

import { make } from "../dom.js"
import { compare } from "../gallery.js"
import { word } from "../i18n.js"
import { sendForm } from "./begin.js"
import { failed, replaceEdits } from "./change.js"
import { draw } from "./show.js"
import { $, ask, edited, say, session, state } from "./state.js"

const MOST = 100
/** @type {any[]} */
let pair = []

/** Keep a finished render as a take. @param {any} job */
export function addTake(job) {
  const { takes } = state.clip
  if (takes.some((/** @type {any} */ each) => each.job === job.id)) return
  const number = takes.length + 1
  const take = { name: word("take_name", { number }), at: Date.now() / 1000, preset: job.request.preset, job: job.id }
  const { start, end } = job.request.work || {}
  if (start !== undefined) Object.assign(take, { span: [start, end] })
  state.clip.takes = [...takes, { ...take, edits: structuredClone(state.edits) }].slice(-MOST)
  keep()
}

function keep() {
  ask(session("/takes"), { takes: state.clip.takes }).catch(say)
  showTakes()
}

/** Go back to the edits of a take, of what is edited now. @param {any} take */
const use = (take) => replaceEdits(() => take.edits[state.kind] || [])

/** @param {any} take @param {HTMLElement} button */
function choose(take, button) {
  const chosen = !pair.includes(take)
  pair = chosen ? [...pair, take] : pair.filter((each) => each !== take)
  button.setAttribute("aria-pressed", String(chosen))
  if (pair.length < 2) return
  compare(pair.map(({ name, job }) => ({ title: name, src: `/v1/animations/${job}/result` })))
  pair = []
  showTakes()
}

/** @param {string} key @param {string} name @param {() => void} act */
function button(key, name, act) {
  const label = `${word(key)}${word("colon")}${name}`
  return make("button", { type: "button", className: "small", "aria-label": label, onclick: act }, word(key))
}

export function showTakes() {
  const { takes } = state.clip
  $("takes").replaceChildren(
    ...takes.map((/** @type {any} */ take) => {
      const count = Object.values(take.edits).flat().length
      const side = button("compare", take.name, () => choose(take, side))
      side.setAttribute("aria-pressed", "false")
      const [start, end] = (take.span || []).map((/** @type {number} */ at) => at.toFixed(1))
      const again = take.span ? word("take_span", { start, end }) : ""
      const parts = [
        make("span", {}, word("take", { name: take.name, preset: take.preset, count }) + again),
        button("use_take", take.name, () => use(take)),
        ...(take.job ? [side] : []),
      ]
      return make("li", { className: "row" }, ...parts)
    }),
  )
  const before = $("behind").value
  const names = takes.map((/** @type {any} */ { name }, /** @type {number} */ index) => new Option(name, String(index)))
  $("behind").replaceChildren(new Option(word("nothing"), ""), new Option(word("voice_alone"), "voice"), ...names)
  $("behind").value = before
}

/** Draw the curves of a take, or of the voice alone, behind those of now. */
async function showBehind() {
  const chosen = $("behind").value
  state.behind = null
  try {
    const edits = chosen === "voice" ? [] : state.clip.takes[+chosen]?.edits[state.kind] || []
    if (chosen) state.behind = { kind: state.kind, curves: await ask(edited("/curves"), { edits }) }
  } catch (error) {
    await failed(error)
  }
  draw()
}

/** @param {HTMLInputElement} input @param {(id: string) => void} then */
async function openProject(input, then) {
  const form = new FormData()
  if (!input.files?.length) return
  form.append("project", input.files[0])
  input.value = ""
  say()
  try {
    then((await sendForm("/editor/projects", form)).id)
  } catch (error) {
    say(error)
  }
}

/** @param {(id: string) => void} then called with the session of an opened project */
export function setUpTakes(then) {
  $("behind").onchange = showBehind
  for (const name of ["open-project", "begin-project"]) $(name).onchange = () => openProject($(name), then)
}
