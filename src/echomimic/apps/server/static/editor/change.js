// @ts-check
// Changes the motion: every change is one or several records of edits that the server applies.

import { remember } from "./begin.js"
import { draw, focusChosen, show, showFrame } from "./show.js"
import { $, ask, edited, failedLast, keys, newest, say, state } from "./state.js"

/** Set by the page: what to do if the server has lost the session. */
export const hooks = { lost: async () => {} }

/** Take the server's answer to a change. @param {any} answer */
export function take({ curves, keys: points, revision, ...rest }) {
  const doc = state.docs[rest.kind]
  Object.assign(doc, rest)
  doc.curves = { ...doc.curves, ...curves }
  doc.keys = { ...doc.keys, ...points }
  Object.assign(state, { revision, before: null })
  state.edits[rest.kind] = [...doc.baked, ...doc.edits].map((each) => each.record)
  remember(state.edits)
  if (rest.kind !== state.kind) return
  state.key = Math.min(state.key, keys().length - 1)
  show()
  showFrame()
}

/** @param {string} path @param {Record<string, any>} [what] */
export async function change(path, what = {}) {
  if (path !== "/edits") state.nudged = null
  try {
    say()
    take(await ask(edited(path), { ...what, revision: state.revision }))
  } catch (error) {
    await failed(error)
  }
}

/** @param {any} error */
export async function failed(error) {
  if (error.code !== "session_gone") return say(error)
  state.id = ""
  location.hash = ""
  await hooks.lost()
}

/**
 * Apply an edit, or several as one step.
 * @param {any} edits
 * @param {number | null} [at] the second of the point to choose afterwards
 * @param {boolean} [replaceLast] whether they take the place of the last step
 */
export async function edit(edits, at = null, replaceLast = false) {
  await change("/edits", { edits: [edits].flat(), replace_last: replaceLast })
  if (failedLast()) state.nudged = null
  if (at === null || failedLast()) return
  const distances = keys().map(([each]) => Math.abs(each - at))
  state.key = distances.indexOf(Math.min(...distances))
  show()
  focusChosen()
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
