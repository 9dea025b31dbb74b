// Changes what is edited: every change is a line of Python that the server applies.

import { ask, newest } from './server.js'
import { $, edited, keys, say, state } from './state.js'
import { remember } from './begin.js'
import { draw, focusChosen, show, showFrame } from './show.js'

// Set by the page: what to do where the server has lost the session.
export const hooks = { lost: () => {} }

export function take({ curves, keys: points, revision, ...rest }) {
  const doc = state.docs[rest.kind]
  Object.assign(doc, rest)
  doc.curves = { ...doc.curves, ...curves }
  doc.keys = { ...doc.keys, ...points }
  Object.assign(state, { revision, before: null })
  state.lines[rest.kind] = [...doc.past, ...doc.edits]
  remember(state.lines)
  if (rest.kind !== state.kind) return
  state.key = Math.min(state.key, keys().length - 1)
  show(); showFrame()
}

export async function change(path, what = {}) {
  if (path !== '/edits') state.nudged = null
  try { say(); take(await ask(edited(path), { ...what, revision: state.revision })) } catch (error) { await failed(error) }
}

export async function failed(error) {
  if (error.status !== 404) return say(error)
  state.id = ''; location.hash = ''
  await hooks.lost()
}

// Applies a line, or some; `at` is the second of the point to be chosen after, `instead` takes the place of the last line.
export async function edit(lines, at = null, instead = false) {
  await change('/edits', { lines: [lines].flat(), instead })
  if (!$('error').hidden) state.nudged = null
  if (at === null || !$('error').hidden) return
  const near = keys().map(([each]) => Math.abs(each - at))
  state.key = near.indexOf(Math.min(...near))
  show()
  focusChosen()
}

const attempt = newest(async (lines) => {
  try {
    const said = await ask(edited('/try'), { lines, at: state.cursor, close: $('close').checked })
    if (!state.trying) return
    Object.assign(state.doc.curves, said.curves)
    $('frame').src = said.frame
    draw()
  } catch (error) { say(error) }
})

// Shows what a line, or some, would do while they are being drawn.
export function tryOut(lines) {
  state.before ||= { ...state.doc.curves }
  state.trying = lines
  attempt([lines].flat())
}

export function letGo() {
  if (state.before) state.doc.curves = state.before
  state.before = state.trying = state.dragged = null
}
