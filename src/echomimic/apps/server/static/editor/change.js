// @ts-check
// Changes the motion: every change is one or several records of edits that the server applies.

import { remember } from "./begin.js"
import { draw, focusChosen, show, showFrame } from "./show.js"
import { $, ask, clamp, edited, failedLast, keys, newest, rounded, say, state } from "./state.js"
import { handlesOf } from "./tangents.js"

/** Set by the page: what to do if the server has lost the session. */
export const hooks = { lost: async (/** @type {string} */ _id) => {} }

/** Take the server's answer to a change. @param {any} answer */
export function take({ curves, keys: points, revision, ...rest }) {
  const doc = state.docs[rest.kind]
  Object.assign(doc, rest)
  doc.curves = { ...doc.curves, ...curves }
  for (const name of Object.keys(curves)) delete doc.keys[name] // of a long clip they come when they are needed
  Object.assign(doc.keys, points)
  Object.assign(state, { revision, before: null })
  state.edits[rest.kind] = [...doc.baked, ...doc.edits].map((each) => each.record)
  remember(state.edits)
  if (rest.kind !== state.kind) return
  state.key = Math.min(state.key, keys().length - 1)
  show()
  showFrame()
}

/** @type {Promise<void>} */
let pending = Promise.resolve()

/** Change the motion, after the changes of before. @param {string} path @param {Record<string, any>} [what] */
export function change(path, what = {}) {
  if (path !== "/edits") state.nudged = null
  pending = pending.then(() => changeNow(path, what))
  return pending
}

/** @param {string} path @param {Record<string, any>} what */
async function changeNow(path, what) {
  try {
    say()
    const { revision, curve } = state
    take(await ask(edited(path), { ...what, revision, curve, tolerance: +$("tolerance").value }))
  } catch (error) {
    await failed(error)
  }
}

/** @param {any} error */
export async function failed(error) {
  if (error.code !== "session_gone") return say(error)
  const id = state.id
  state.id = ""
  history.replaceState(null, "", location.pathname + location.search)
  await hooks.lost(id)
}

/**
 * Apply an edit, or several as one step.
 * @param {any} edits
 * @param {number | null} [at] the second of the point to choose afterwards
 * @param {boolean} [replaceLast] whether they take the place of the last step
 */
export async function edit(edits, at = null, replaceLast = false) {
  const made = [edits].flat()
  if (state.layer) await replaceEdits(() => inLayer(state.layer, made, replaceLast), replaceLast)
  else await change("/edits", { edits: made, replace_last: replaceLast })
  if (failedLast()) state.nudged = null
  if (at === null || failedLast()) return
  const distances = keys().map(([each]) => Math.abs(each - at))
  state.key = distances.indexOf(Math.min(...distances))
  show()
  focusChosen()
}

/** The edits that can be changed, as records. @returns {any[]} */
export const records = () => state.doc.edits.map((/** @type {any} */ each) => each.record)

/** The edits that new ones join: those of the chosen layer, or those outside of layers. @returns {any[]} */
export const ownEdits = () =>
  state.layer
    ? records().find(({ op, name }) => op === "layer" && name === state.layer)?.edits || []
    : records().filter(({ op }) => op !== "layer")

/**
 * Put other edits in the place of all.
 * @param {() => any[]} make gives them from those of now, when the changes of before are done
 * @param {boolean} [replaceLast]
 */
export function replaceEdits(make, replaceLast = false) {
  pending = pending.then(() => changeNow("/edits", { edits: make(), whole: true, replace_last: replaceLast }))
  return pending
}

/** All edits, with some added to a layer. @param {string} name @param {any[]} made @param {boolean} replaceLast */
function inLayer(name, made, replaceLast) {
  const all = records()
  const index = all.findIndex((each) => each.op === "layer" && each.name === name)
  const layer = all[index] || { op: "layer", name, edits: [] }
  const kept = replaceLast ? layer.edits.slice(0, -made.length) : layer.edits
  const changed = { ...layer, edits: [...kept, ...made] }
  return index < 0 ? [...all, changed] : all.with(index, changed)
}

/**
 * Take out the edits that `is` finds among those that new ones join.
 * @param {(record: any) => boolean} is
 */
export const without = (is) =>
  replaceEdits(() =>
    records().flatMap((each) => {
      if (each.op !== "layer") return state.layer || !is(each) ? [each] : []
      return [
        each.name === state.layer ? { ...each, edits: each.edits.filter((/** @type {any} */ one) => !is(one)) } : each,
      ]
    }),
  )

/**
 * An edit that draws a curve through points: on frames, in order, inside the curve's range. If the ease is `free` and
 * one of the points has handles, so have all.
 * @param {string} curve
 * @param {any[]} points second and value of each; what is false is left out
 * @param {string} [ease]
 */
export function drawn(curve, points, ease = state.ease) {
  const { frames, fps, table } = state.doc
  const { low, high } = table.find((/** @type {any} */ { name }) => name === curve)
  const kept = new Map(
    points
      .filter(Boolean)
      .map(([at, value, ...handles]) => [
        clamp(Math.round(at * fps), 0, frames - 1),
        [clamp(value, low, high), ...handles],
      ]),
  )
  const sorted = [...kept]
    .sort(([a], [b]) => a - b)
    .map(([frame, [value, ...handles]]) => [rounded(frame / fps), rounded(value), ...handles])
  const record = { op: "draw_curve", curve, keys: sorted.map(([at, value]) => [at, value]) }
  if (ease !== "free") return ease === "smooth" ? record : { ...record, ease }
  if (!sorted.some(({ length }) => length > 2)) return record
  const handles = sorted.map((point, index) => handlesOf(point, sorted[index - 1], sorted[index + 1]))
  return { ...record, handles }
}

const attempt = newest(async (edits) => {
  try {
    const said = await ask(edited("/preview"), { edits, at: state.cursor, close: $("close").checked })
    if (!state.trying) return
    Object.assign(state.doc.curves, said.curves)
    $("frame").src = said.frame
    draw()
  } catch (error) {
    say(error)
  }
})

/** Show what edits would do while they are being drawn. @param {any} edits */
export function tryOut(edits) {
  state.before ||= { ...state.doc.curves }
  state.trying = edits
  attempt([edits].flat())
}

/** End what `tryOut` has shown. */
export function letGo() {
  if (state.before) state.doc.curves = state.before
  state.before = state.trying = state.dragged = null
}
