// @ts-check
// Layers: named groups of edits that are muted, heard alone, applied in part, and put in order.

import { make } from "../dom.js"
import { word } from "../i18n.js"
import { records, replaceEdits } from "./change.js"
import { $, rounded, state } from "./state.js"

const isLayer = (/** @type {any} */ { op }) => op === "layer"

/** Change the layer called `name`. @param {string} name @param {Record<string, any>} values */
const set = (name, values) =>
  replaceEdits(() => records().map((each) => (isLayer(each) && each.name === name ? { ...each, ...values } : each)))

/** Put a layer before or after the one beside it. @param {string} name @param {number} by */
const move = (name, by) =>
  replaceEdits(() => {
    const all = records()
    const places = all.flatMap((each, index) => (isLayer(each) ? [index] : []))
    const at = places.findIndex((index) => all[index].name === name)
    const other = places[at + by]
    if (other === undefined) return all
    return all.with(other, all[places[at]]).with(places[at], all[other])
  })

/** @param {string} name */
function remove(name) {
  if (state.layer === name) state.layer = ""
  return replaceEdits(() => records().filter((each) => !isLayer(each) || each.name !== name))
}

/** Choose the layer that new edits join; none for edits outside of layers. @param {string} name */
function choose(name) {
  state.layer = name
  state.nudged = null
  showLayers()
}

/**
 * @param {string} key
 * @param {string} name
 * @param {string} sign
 * @param {() => void} act
 * @param {boolean} [pressed]
 */
function button(key, name, sign, act, pressed) {
  const label = `${word(key)}${word("colon")}${name}`
  const made = make("button", { type: "button", className: "small", title: word(key), "aria-label": label }, sign)
  if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed))
  made.onclick = act
  return made
}

/** @param {string} name @param {string} shown */
function chooser(name, shown) {
  const radio = make("input", { type: "radio", name: "layer", checked: state.layer === name })
  radio.onchange = () => choose(name)
  return make("label", {}, radio, " ", shown)
}

/** @param {any} layer */
function row(layer) {
  const { name, edits, muted = false, solo = false, strength = 1 } = layer
  const label = `${word("strength")}${word("colon")}${name}`
  const slider = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: strength, "aria-label": label })
  slider.onchange = () => set(name, { strength: rounded(+slider.value) })
  return make(
    "li",
    { className: "row layer" },
    chooser(name, `${name} (${edits.length})`),
    button("mute", name, "M", () => set(name, { muted: !muted }), muted),
    button("solo", name, "S", () => set(name, { solo: !solo }), solo),
    slider,
    button("earlier", name, "↑", () => move(name, -1)),
    button("later", name, "↓", () => move(name, 1)),
    button("remove", name, "×", () => remove(name)),
  )
}

export function showLayers() {
  const layers = records().filter(isLayer)
  if (state.layer && !layers.some(({ name }) => name === state.layer) && state.fresh !== state.layer) state.layer = ""
  const fresh = state.layer && !layers.some(({ name }) => name === state.layer)
  $("layers").replaceChildren(
    make("li", {}, chooser("", word("no_layer"))),
    ...layers.map(row),
    ...(fresh ? [make("li", {}, chooser(state.layer, `${state.layer} (0)`))] : []),
  )
}

export function setUpLayers() {
  $("new-layer").onclick = () => {
    const taken = records()
      .filter(isLayer)
      .map(({ name }) => name)
    const asked = $("layer-name").value.trim() || word("layer_name", { number: taken.length + 1 })
    let name = asked
    for (let number = 2; taken.includes(name); number++) name = `${asked} ${number}`
    $("layer-name").value = ""
    state.fresh = name
    choose(name)
  }
}
