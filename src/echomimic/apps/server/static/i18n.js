// @ts-check
// The words of the page in the language of the reader: from the address, the last choice, or the browser.

const LANGUAGES = /** @type {Record<string, string>} */ ({ en: "English", zh: "中文" })

/** The values of notes that name a hand, a region of the face or curves. */
const NAMES = ["side", "takes", "other", "part", "curves"]

function preferred() {
  const asked = new URLSearchParams(location.search).get("lang") || localStorage.getItem("echomimic-language")
  if (asked && asked in LANGUAGES) return asked
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en"
}

export const language = preferred()
localStorage.setItem("echomimic-language", language)
document.documentElement.lang = language === "zh" ? "zh-Hans" : "en"
const words = /** @type {Record<string, string>} */ (await (await fetch(`/locales/${language}.json`)).json())

/** @param {string} key */
export const hasWord = (key) => key in words

/**
 * The words of a key with `{name}` replaced by values.
 * @param {string} key
 * @param {Record<string, unknown>} values
 */
export function word(key, values = {}) {
  return fill(words[key] ?? key, values)
}

/**
 * @param {string} template
 * @param {Record<string, unknown>} values
 */
function fill(template, values) {
  return template.replace(/\{(\w+)(?::([^}]*))?\}/g, (all, name, form) =>
    name in values ? shown(values[name], form) : all,
  )
}

/**
 * A value in a format of Python's: `.1f`, `.0%`, `+.2f`, `+d`, `g`; without one, a number has at most four decimals.
 * @param {unknown} value
 * @param {string} [form]
 */
function shown(value, form = "") {
  if (typeof value !== "number") return String(value)
  const [, sign, digits, kind] = form.match(/^(\+?)(?:\.(\d+))?([fgd%]?)$/) || []
  const plus = sign && value >= 0 ? "+" : ""
  if (kind === "f") return plus + value.toFixed(+digits)
  if (kind === "%") return `${plus}${(100 * value).toFixed(+digits)}%`
  if (kind === "g" && digits) return plus + String(+value.toPrecision(+digits))
  return plus + String(+value.toFixed(4))
}

/** Put the words into every element of the page that names a key, and offer the other language. */
export function translatePage() {
  for (const each of document.querySelectorAll("[data-word]")) {
    each.textContent = word(/** @type {HTMLElement} */ (each).dataset.word || "")
  }
  const other = language === "zh" ? "en" : "zh"
  const link = document.getElementById("language")
  if (!(link instanceof HTMLAnchorElement)) return
  link.textContent = LANGUAGES[other]
  link.lang = other
  link.hreflang = other
  link.href = `${location.pathname}?lang=${other}`
}

/**
 * A note of the server: translated by its code where it has one.
 * @param {string | {code?: string, text?: string, values?: Record<string, unknown>}} note
 * @returns {{text: string, foreign: boolean}}
 */
export function noteText(note) {
  const { code = "", text = "", values = {} } = typeof note === "string" ? { text: note } : note
  if (language === "en") return { text, foreign: false }
  const key = `note.${code}`
  return hasWord(key) ? { text: word(key, named(values)), foreign: false } : { text, foreign: true }
}

/**
 * Values of a note with the names of hands, regions and curves translated.
 * @param {Record<string, unknown>} values
 */
function named(values) {
  const translated = (/** @type {string} */ names) => names.split(", ").map((each) => word(each))
  const known = NAMES.filter((name) => typeof values[name] === "string")
  return { ...values, ...Object.fromEntries(known.map((name) => [name, translated(String(values[name])).join("、")])) }
}

/**
 * What an error of this code means, in a few words; empty where nothing is known of it.
 * @param {string} code
 */
export const errorTitle = (code) => (hasWord(`error.${code}`) ? word(`error.${code}`) : "")
