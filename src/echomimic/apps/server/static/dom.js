// @ts-check
// Small helpers to make and fill elements.

import { errorTitle, language, noteText, word } from "./i18n.js"

/**
 * @param {string} id
 * @returns {any}
 */
export const $ = (id) => document.getElementById(id)

/**
 * @param {string} name
 * @param {Record<string, any>} [properties]
 * @param {(Node | string)[]} children
 * @returns {any}
 */
export function make(name, properties = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role") made.setAttribute(key, value)
    else /** @type {any} */ (made)[key] = value
  }
  made.append(...children)
  return made
}

/**
 * One line for an error: what kind it is in the reader's language, then the server's exact line.
 * @param {any} error
 */
export function errorLine(error) {
  const title = errorTitle(error.code || "")
  const line = make("span", {}, error.message || String(error))
  if (language !== "en" && error.status) line.lang = "en"
  return make(
    "p",
    { className: "error", role: "alert" },
    make("b", {}, `${title || word("error")}${word("colon")}`),
    line,
  )
}

/** @param {any[]} notes */
export function noteLines(notes) {
  const lines = notes.map((note) => {
    const { text, foreign } = noteText(note)
    return make(
      "p",
      {},
      make("b", {}, `${word("note")}${word("colon")}`),
      make("span", foreign ? { lang: "en" } : {}, text),
    )
  })
  return make("div", { className: "notes" }, ...lines)
}

/**
 * Take a file that is chosen, or dropped on a box. A file that misses the box does not replace the page.
 * @param {HTMLElement} box a label with a file input
 * @param {(file: File) => void} take
 */
export function dropZone(box, take) {
  const input = /** @type {HTMLInputElement} */ (box.querySelector("input"))
  input.onchange = () => {
    if (input.files?.length) take(input.files[0])
    input.value = ""
  }
  input.onkeydown = (event) => {
    if (event.key === "Enter") input.click()
  }
  box.ondragover = () => box.classList.add("over")
  box.ondragleave = () => box.classList.remove("over")
  box.ondrop = (event) => {
    box.classList.remove("over")
    if (event.dataTransfer?.files.length) take(event.dataTransfer.files[0])
  }
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault())
}

/** Take files that are pasted into the page. @param {(file: File) => void} take */
export function takePasted(take) {
  document.addEventListener("paste", (event) => {
    for (const file of event.clipboardData?.files || []) take(file)
  })
}

/** Ask for the server's API key, which this browser sends as a cookie from then on. @param {any} error the refusal */
export function askForKey(error) {
  const input = make("input", { type: "password", autocomplete: "current-password", required: true })
  const label = make("label", { className: "row" }, word("api_key"), input)
  const form = make("form", { className: "row" }, label, make("button", { className: "primary" }, word("use_key")))
  form.onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault()
    const secure = location.protocol === "https:" ? "; Secure" : ""
    document.cookie = `echomimic-key=${encodeURIComponent(input.value.trim())}; path=/; SameSite=Strict${secure}`
    location.reload()
  }
  const home = make("main", { className: "stack" }, errorLine(error), form)
  document.querySelector("main")?.replaceWith(home)
  input.focus()
}
