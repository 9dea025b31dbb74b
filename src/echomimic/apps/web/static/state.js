// What is open in the editor and what is chosen in it; small things that every part needs.

import { advice, word } from './server.js'

export const $ = (id) => document.getElementById(id)
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value))
export const short = (number) => String(+number.toFixed(4))

// `doc` is what is edited now, of `docs`, by its kind; `clip` is what both have in common; `lines` are all edits.
export const state = {
  id: location.hash.slice(1), kind: 'face', clip: null, doc: null, docs: {}, lines: {}, chosen: {}, revision: 0,
  cursor: 0, curve: 'jaw', key: -1, range: null, before: null, view: { start: 0, span: 1 }, axis: [0, 1],
  nudged: null, dragged: null, trying: null,
  mouth: new Set(['jaw', 'spread', 'upper_lip', 'tuck', 'closure', 'tongue', 'smile']),
  line: () => state.doc.table.find((each) => each.name === state.curve), word,
}

export const session = (path = '') => `sessions/${state.id}${path}`
export const edited = (path = '') => session(`/${state.kind}${path}`)
export const keys = () => state.doc.keys[state.curve]
export const total = () => state.doc.frames / state.doc.fps
export const second = () => state.cursor / state.doc.fps

export function say(error) {
  $('error').hidden = !error
  if (!error) return
  const lead = document.createElement('b'), line = document.createElement('span')
  lead.textContent = `${word('error')}: ${advice(error.trouble)}`
  line.textContent = error.message || error
  if (error.trouble) line.lang = 'en'
  $('error').replaceChildren(lead, ' ', line)
}
