// @ts-check
// The settings: quality, preset, seed, and a field for each option of the server's schema.

import { $, make } from "./dom.js"
import { hasWord, word } from "./i18n.js"

const QUALITIES = ["draft", "balanced", "best"]
const ELSEWHERE = ["seed"]
const MOST_STEPS = 500

/** @type {any} */
let config
/** @type {Record<string, any>} */
const fields = {}
/** @type {() => void} */
let changed = () => {}

export const presetName = () => $("preset").value
const preset = () => config.presets.find((/** @type {any} */ each) => each.name === resolved())
const resolved = () => (presetName() === "auto" ? config.auto : presetName())
export const quality = () => document.querySelector("#quality input:checked")?.getAttribute("value") || "balanced"

/** @param {any} spec */
const defaultOf = (spec) => preset()?.defaults[spec.name] ?? spec.default

/**
 * @param {any} given the server's description of presets and options
 * @param {() => void} onChange called when a setting has changed
 */
export function setUpOptions(given, onChange) {
  config = given
  changed = onChange
  $("quality").append(
    ...QUALITIES.map((name) =>
      make(
        "label",
        {},
        make("input", { type: "radio", name: "quality", value: name, checked: name === "balanced" }),
        " ",
        word(name),
      ),
    ),
  )
  $("preset").append(
    ...["auto", ...config.presets.map((/** @type {any} */ each) => each.name)].map((name) => new Option(name, name)),
  )
  layPresets()
  for (const group of config.groups) layGroup(group)
  $("preset").onchange = () => {
    showDefaults()
    changed()
  }
  $("quality").onchange = () => changed()
  $("seed").onchange = () => changed()
  $("new-seed").onclick = () => {
    $("seed").value = Math.floor(Math.random() * 2147483647)
    changed()
  }
  showDefaults()
}

function layPresets() {
  $("presets").replaceChildren(
    ...config.presets.map((/** @type {any} */ each) => {
      const fixes = each.fix.flatMap((/** @type {string} */ line) => [make("br"), make("code", {}, line)])
      return make(
        "li",
        {},
        make("b", {}, each.name),
        ` – ${summary(each)} – ${word(each.ready ? "ready" : "not_ready")}`,
        ...fixes,
      )
    }),
  )
}

/** @param {any} each */
const summary = (each) => (hasWord(`preset.${each.name}`) ? word(`preset.${each.name}`) : each.summary)

/** @param {string} group */
function layGroup(group) {
  const specs = config.options.filter(
    (/** @type {any} */ each) => each.group === group && !ELSEWHERE.includes(each.name),
  )
  const box = make("div", { className: "fields" }, ...specs.map(layField))
  const title = hasWord(`group.${group}`) ? word(`group.${group}`) : group
  $("options").append(make("details", {}, make("summary", {}, title), box))
}

/** @param {any} spec */
function layField(spec) {
  const id = `option-${spec.name}`
  const input = control(spec)
  Object.assign(input, { id, onchange: () => changed() })
  fields[spec.name] = input
  const label = make("label", { htmlFor: id }, word(`option.${spec.name}`))
  const help = make("small", { id: `${id}-help` }, hasWord(`help.${spec.name}`) ? word(`help.${spec.name}`) : spec.help)
  input.setAttribute("aria-describedby", help.id)
  if (spec.kind === "bool") return make("div", { className: "field check" }, input, label, help)
  return make("div", { className: "field" }, label, input, help)
}

/** @param {any} spec */
function control(spec) {
  if (spec.choices.length)
    return make("select", {}, ...spec.choices.map((/** @type {string} */ each) => new Option(each, each)))
  if (spec.kind === "bool") return make("input", { type: "checkbox" })
  const steps = spec.step && spec.low !== null && spec.high !== null ? (spec.high - spec.low) / spec.step : Infinity
  if (spec.kind === "str" || spec.default === null) return make("input", { type: "text", placeholder: word("default") })
  const type = steps <= MOST_STEPS ? "number" : "text"
  return make(
    "input",
    type === "number" ? { type, min: spec.low, max: spec.high, step: "any" } : { type, inputMode: "decimal" },
  )
}

function showDefaults() {
  for (const spec of config.options) if (fields[spec.name]) setValue(spec, defaultOf(spec))
  const chosen = presetName() === "auto" ? word("auto_is", { preset: config.auto }) : summary(preset())
  $("preset-help").textContent = chosen
}

/**
 * @param {any} spec
 * @param {any} value
 */
function setValue(spec, value) {
  if (spec.kind === "bool") fields[spec.name].checked = Boolean(value)
  else fields[spec.name].value = value ?? ""
}

/** The options that were set by hand: values that differ from the preset's default. */
function byHand() {
  /** @type {Record<string, string>} */
  const given = {}
  for (const spec of config.options) {
    const field = fields[spec.name]
    if (!field) continue
    const value = spec.kind === "bool" ? field.checked : field.value.trim()
    if (value !== "" && String(value) !== String(defaultOf(spec) ?? "")) given[spec.name] = String(value)
  }
  const seed = $("seed").value.trim()
  if (seed !== "" && seed !== "0") given.seed = seed
  return given
}

/**
 * The options to render with: the quality's, and over them those set by hand.
 * @param {number} longer the longer side of the portrait in pixels
 * @returns {Record<string, any>}
 */
export function chosenOptions(longer) {
  const of = { ...preset()?.qualities[quality()] }
  if (of.size >= longer) delete of.size
  return { ...of, ...byHand() }
}

/** The frame rate that is chosen. */
export const frameRate = () => +(fields.fps.value || defaultOf({ name: "fps", default: 25 }))

export const chosenSettings = () => ({ preset: presetName(), quality: quality(), options: byHand() })
export const chosenPreset = () => resolved()
/** What the preset follows besides the voice. */
export const presetTakes = () => preset()?.takes

/** @param {any} settings as `chosenSettings` gave them */
export function restoreSettings(settings) {
  if (!settings) return
  const known = [...$("preset").options].some((each) => each.value === settings.preset)
  if (known) $("preset").value = settings.preset
  for (const each of document.querySelectorAll("#quality input")) {
    const radio = /** @type {HTMLInputElement} */ (each)
    radio.checked = radio.value === settings.quality
  }
  showDefaults()
  $("seed").value = settings.options.seed ?? "0"
  for (const spec of config.options) {
    if (fields[spec.name] && spec.name in settings.options) {
      setValue(spec, spec.kind === "bool" ? settings.options[spec.name] === "true" : settings.options[spec.name])
    }
  }
}

/**
 * Show so much of the picture.
 * @param {"full" | "crop"} framing
 * @param {number} margin around the face, in face sizes
 */
export function setFraming(framing, margin) {
  fields.framing.value = framing
  if (framing === "crop") fields.crop_margin.value = margin
  changed()
}

/** Take the face with this number, counted from the left. @param {number} number */
export function chooseFace(number) {
  fields.face.value = number
  fields.face_box.value = ""
  changed()
}
