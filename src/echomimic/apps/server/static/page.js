// @ts-check
// The page: two files and a few settings become a job of the HTTP API.

import { $, askForKey, errorLine, make } from "./dom.js"
import { ask, exampleFile, upload } from "./http.js"
import { language, translatePage, word } from "./i18n.js"
import { bothFiles, checkMissing, choose, files, longerSide, recheck, settled, setUpInputs } from "./inputs.js"
import { setUpJobs, submit } from "./jobs.js"
import { chosenOptions, chosenPreset, chosenSettings, presetTakes, restoreSettings, setUpOptions } from "./options.js"
import { keep, recall, sweep, tab } from "./store.js"

const SETTINGS = "echomimic-settings"

/** @param {any} [line] an element, or nothing */
const say = (line) => $("status").replaceChildren(...(line ? [line] : []))

function remember() {
  sessionStorage.setItem(SETTINGS, JSON.stringify(chosenSettings()))
  if (files.portrait || files.voice) keep(tab(), { ...files })
}

async function generate() {
  say()
  try {
    const { portrait, voice } = bothFiles()
    await settled()
    const form = { preset: chosenPreset(), ...chosenOptions(longerSide()) }
    submit({ portrait, voice, settings: chosenSettings(), form })
  } catch (error) {
    say(errorLine(error))
  }
}

/** Take the files and settings of a video of before. @param {any} inputs */
async function settings(inputs) {
  restoreSettings(inputs.settings)
  await Promise.all([choose("portrait", inputs.portrait), choose("voice", inputs.voice)])
}

/** Make a video of before again. @param {any} inputs its files and settings */
async function again(inputs) {
  await settings(inputs)
  generate()
}

async function example() {
  $("example").disabled = true
  say()
  try {
    const [portrait, voice] = await Promise.all([exampleFile("portrait"), exampleFile("voice")])
    choose("voice", voice)
    choose("portrait", portrait)
    await generate()
  } catch (error) {
    say(errorLine(error))
  }
  $("example").disabled = false
}

/**
 * Open the motion editor with these files in a new tab. The tab opens with the click, before the upload: a browser
 * blocks a tab that opens several seconds later.
 * @param {any} inputs
 */
async function edit(inputs) {
  const editor = window.open("", "_blank")
  const bars = [progressIn(document)]
  say(bars[0])
  if (editor) {
    bars.push(progressIn(editor.document))
    editor.document.title = word("uploading")
    editor.document.body.append(bars[1])
  }
  try {
    const { id } = await upload("/editor/sessions", sessionForm(inputs), (part) => {
      for (const bar of bars) bar.value = part
    })
    const address = `/editor?lang=${language}&kind=${inputs.takes === "hands" ? "hands" : "face"}#${id}`
    say(make("p", {}, make("a", { href: address, target: "_blank" }, word("open_editor"))))
    if (editor) editor.location.href = address
  } catch (error) {
    editor?.close()
    say(errorLine(error))
  }
}

/** A bar for an upload. @param {Document} owner the document that shows it */
function progressIn(owner) {
  const bar = owner.createElement("progress")
  bar.max = 1
  bar.value = 0
  bar.setAttribute("aria-label", word("uploading"))
  return bar
}

/** @param {any} inputs */
function sessionForm({ portrait, voice, options }) {
  const form = new FormData()
  form.append("portrait_name", portrait.name)
  form.append("voice_name", voice.name)
  for (const [name, value] of Object.entries(options)) form.append(name, String(value))
  form.append("portrait", portrait)
  form.append("speech", voice)
  return form
}

function editChosen() {
  try {
    edit({ ...bothFiles(), options: chosenSettings().options, takes: presetTakes() })
  } catch (error) {
    say(errorLine(error))
  }
}

async function restore() {
  await sweep()
  restoreSettings(JSON.parse(sessionStorage.getItem(SETTINGS) || "null"))
  const kept = (await recall(tab())) || {}
  if (kept.portrait) choose("portrait", kept.portrait)
  if (kept.voice) choose("voice", kept.voice)
}

async function start() {
  translatePage()
  document.title = `EchoMimic · ${word("title")}`
  $("to-editor").href = `/editor?lang=${language}`
  const config = await ask("/ui/config")
  setUpOptions(config, () => {
    remember()
    recheck()
  })
  setUpInputs(config.max_upload, remember)
  $("generate").onclick = generate
  $("example").onclick = example
  $("edit").onclick = editChosen
  await restore()
  setUpJobs(config.presets, {
    edit: (inputs) => edit({ ...inputs, options: inputs.settings.options }),
    again,
    settings,
    online: checkMissing,
    disk: config.max_disk,
    hours: config.keep_hours,
  })
  document.querySelector("main")?.removeAttribute("hidden")
}

start().catch((error) => {
  if (error.status === 401) return askForKey(error)
  $("offline").hidden = false
  $("offline").textContent = error.message
})
