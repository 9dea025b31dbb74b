// @ts-check
// What is open in the editor and what is chosen in it, and small helpers for all of its parts.

import { $, errorLine } from "../dom.js"
import { ask as request } from "../http.js"
import { word } from "../i18n.js"

export { $ }

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value))
/** @param {number} number */
export const short = (number) => String(+number.toFixed(4))
/** @param {number} number */
export const rounded = (number) => +number.toFixed(4)

/**
 * `doc` is the motion that is edited now, one of `docs` by its kind; `clip` is what both have in common; `edits` are the
 * records of all edits by kind, which the browser keeps.
 * @type {Record<string, any>}
 */
export const state = {
  id: location.hash.slice(1),
  kind: "face",
  clip: null,
  config: null,
  doc: null,
  docs: {},
  edits: {},
  chosen: {},
  revision: 0,
  cursor: 0,
  stride: 0,
  steady: false,
  curve: "jaw",
  key: -1,
  range: null,
  before: null,
  view: { start: 0, span: 1 },
  axis: [0, 1],
  nudged: null,
  layer: "",
  fresh: "",
  behind: null,
  ease: "free",
  soft: 0,
  selected: new Set(),
  words: [],
  stretches: [],
  loop: false,
  dragged: null,
  trying: null,
  line: () => state.doc.table.find((/** @type {any} */ each) => each.name === state.curve),
  word,
}

export const session = (path = "") => `/editor/sessions/${state.id}${path}`
export const edited = (path = "") => session(`/${state.kind}${path}`)
/** @returns {any[][]} the keyframes of the chosen curve: second, value, and handles; none while they are asked for */
export const keys = () => state.doc.keys[state.curve] || []
export const total = () => state.doc.frames / state.doc.fps
export const second = () => state.cursor / state.doc.fps

/** @param {string} path @param {unknown} [json] */
export const ask = (path, json) => request(path, json === undefined ? {} : { json })

/** Show an error in one line, or hide the last one. @param {any} [error] */
export function say(error) {
  $("error").replaceChildren(...(error ? [errorLine(error)] : []))
}

export const failedLast = () => $("error").childElementCount > 0

/**
 * Run only the newest of many calls, one at a time: calls that pile up behind a slow one are dropped.
 * @param {(...args: any[]) => Promise<void>} run
 */
export function newest(run) {
  let busy = false
  /** @type {any[] | undefined} */
  let next
  return async function call(/** @type {any[]} */ ...args) {
    next = args
    if (busy) return
    busy = true
    try {
      while (next) {
        const now = next
        next = undefined
        await run(...now)
      }
    } finally {
      busy = false
    }
  }
}
