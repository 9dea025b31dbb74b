// The editor's page: opens a session, shows the face or the hands of it, and wires the controls.

import { ask, word } from './server.js'
import { begin, forget } from './begin.js'
import { change, edit, failed, hooks, letGo, take, tryOut } from './change.js'
import { go, play, setUpSound, zoom } from './clock.js'
import { setUpGrip } from './grip.js'
import { setUpKeyboard, setUpStrips } from './input.js'
import { pick, scaled, setUpPoints } from './points.js'
import { layPresets, setUpRender, suggestPreset } from './render.js'
import { draw, lay, layParts, show, showFrame } from './show.js'
import { $, say, second, session, short, state, total } from './state.js'

const FIRST = 20 // seconds in view at first
const VIEW = 'echomimic-view'
const busy = (text) => { $('said').textContent = text }

// ---- face or hands

async function turnTo(kind) {
  if (kind === state.kind) return
  say(); busy(word('working'))
  try { state.docs[kind] ||= await ask(session(`/${kind}`)) } catch (error) {
    if (kind === 'hands' && error.status === 422) layPresets(error.message)
    return failed(error)
  } finally { busy('') }
  enter(kind)
}

function enter(kind) {
  const at = second(), { table, fps } = state.docs[kind]
  state.chosen[state.kind] = state.curve
  letGo()
  Object.assign(state, { kind, doc: state.docs[kind], curve: state.chosen[kind] || table[0].name, key: -1, nudged: null })
  sessionStorage.setItem(VIEW, kind)
  lay(pick); suggestPreset(); show(); go(at * fps)
}

const other = () => turnTo(state.kind === 'face' ? 'hands' : 'face')

// ---- the controls

function setUpTools() {
  $('undo').onclick = () => change('/undo')
  $('redo').onclick = () => change('/redo')
  $('play').onclick = () => play()
  $('whole').onchange = show
  $('close').onchange = () => showFrame()
  $('mute').onclick = () => edit(scaled(0))
  $('zoom-in').onclick = () => zoom(.7)
  $('zoom-out').onclick = () => zoom(1 / .7)
  $('gain').oninput = () => { $('gained').textContent = `×${short(+$('gain').value)}`; tryOut(scaled(+$('gain').value)) }
  $('gain').onchange = setGain
  $('load').onchange = () => send('load', 'track', '/track', loaded)
  $('again').onchange = () => send('again', 'voice', '/again', ({ id }) => { location.hash = id; location.reload() })
  for (const each of $('kinds').children) each.onclick = () => turnTo(each.value)
  window.addEventListener('resize', () => state.doc && draw())
}

function setGain() {
  const gain = +$('gain').value
  letGo()
  $('gain').value = 1; $('gained').textContent = '×1'
  if (gain === 1) { show(); return showFrame() } // there and back again is no edit
  edit(scaled(gain))
}

async function send(input, name, path, then) {
  const form = new FormData()
  form.append(name, $(input).files[0])
  $(input).value = ''
  busy(word('working')); say()
  try { then(await ask(session(path), form)) } catch (error) { await failed(error) } finally { busy('') }
}

// A track goes where it belongs, and is shown.
function loaded(doc) {
  state.docs[doc.kind] = doc
  if (doc.kind === state.kind) state.doc = doc
  take(doc); enter(doc.kind)
}

// ---- beginning

async function open(id) {
  state.id = id
  try { ({ face: state.doc, ...state.clip } = await ask(session())) } catch (error) { return failed(error) }
  const { doc, clip } = state, kind = sessionStorage.getItem(VIEW) || new URLSearchParams(location.search).get('kind') || clip.first
  Object.assign(state, { kind: 'face', docs: { face: doc }, lines: clip.lines, revision: doc.revision, curve: 'jaw', cursor: 0 })
  state.view = { start: 0, span: Math.min(total(), FIRST) }
  location.hash = id
  $('begin').hidden = true; $('desk').hidden = $('tools').hidden = $('kinds').hidden = false
  $('sound').src = `/editor/${session('/voice')}`
  $('wave').setAttribute('aria-valuemax', total().toFixed(2))
  $('close').checked = doc.far
  lay(pick); setUpRender(session); show(); showFrame()
  if (kind === 'hands') turnTo(kind)
}

function name() {
  for (const each of document.querySelectorAll('[data-word]')) each.textContent = word(each.dataset.word)
  $('play').textContent = word('play'); $('frame').alt = word('frame_alt'); $('recent').alt = word('recent')
  $('wave').title = word('wave')
  const labels = { gain: 'strength', 'zoom-in': 'zoom_in', 'zoom-out': 'zoom_out', wave: 'wave', lanes: 'curve', kinds: 'kinds', bar: 'progress' }
  for (const [id, key] of Object.entries(labels)) $(id).setAttribute('aria-label', word(key))
}

const start = (lost) => { sessionStorage.removeItem(VIEW); $('kinds').hidden = true; return begin(open, say, lost) }

name(); forget()
hooks.lost = () => start(true)
layParts((parts) => edit(`select(track, [${parts.map((each) => `'${each}'`).join(', ')}])`))
setUpTools(); setUpStrips(); setUpPoints(); setUpGrip(); setUpSound(); setUpKeyboard(other)
if (state.id) open(state.id)
else start(false)
window.addEventListener('hashchange', () => { if (location.hash.slice(1) && location.hash.slice(1) !== state.id) location.reload() })
