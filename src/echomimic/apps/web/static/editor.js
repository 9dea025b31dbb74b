// The editor: what is chosen, the keyboard and the pointer. Every change is a line of Python that the server applies.

import { ask, newest, word } from './server.js'
import { begin, forget, remember } from './begin.js'
import { drawLane, drawStage, drawWave, level, limits, moment, place, valueAt } from './timeline.js'
import { setUpRender } from './render.js'

const $ = (id) => document.getElementById(id)
const FIRST = 20 // seconds in view at first
const PARTS = ['eyes', 'brows', 'mouth', 'pupils', 'nose', 'head']
const state = {
  id: location.hash.slice(1), doc: null, cursor: 0, curve: 'jaw', key: -1, range: null, before: null,
  view: { start: 0, span: 1 }, mouth: new Set(['jaw', 'spread', 'upper_lip', 'tuck', 'closure', 'tongue', 'smile']),
  line: () => state.doc.table.find((each) => each.name === state.curve), axis: [0, 1], nudged: null, dragged: null, trying: null, word,
}
const session = (path = '') => `sessions/${state.id}${path}`
const short = (number) => String(+number.toFixed(4))
const keys = () => state.doc.keys[state.curve]
const clamp = (value, low, high) => Math.min(high, Math.max(low, value))
const say = (error) => { $('error').hidden = !error; $('error').textContent = error ? `${word('error')}: ${error.message || error}` : '' }
const busy = (text) => { $('said').textContent = text }

// ---- what the server says

function take(said) {
  const { curves, keys: points, ...rest } = said
  Object.assign(state.doc, rest)
  Object.assign(state.doc.curves, curves)
  Object.assign(state.doc.keys, points)
  state.before = null
  state.key = Math.min(state.key, keys().length - 1)
  remember(state)
  show(); showFrame()
}

async function change(path, what = {}) {
  if (path !== '/edits') state.nudged = null
  try { say(); take(await ask(session(path), what)) } catch (error) { await lost(error) }
}

async function lost(error) {
  if (error.status !== 404) return say(error)
  state.id = ''; location.hash = ''
  await begin(state, open, say, true)
}

async function edit(line, second = null, instead = false) {
  await change('/edits', { line, instead })
  if (!$('error').hidden) state.nudged = null
  if (second === null || !$('error').hidden) return
  const near = keys().map(([at]) => Math.abs(at - second))
  state.key = near.indexOf(Math.min(...near))
  show()
  if (document.activeElement.classList.contains('key')) $('keys').querySelector('[aria-pressed=true]')?.focus()
}

const attempt = newest(async (line) => {
  try {
    const said = await ask(session('/try'), { line, at: state.cursor, close: $('close').checked })
    if (!state.trying) return
    Object.assign(state.doc.curves, said.curves)
    $('frame').src = said.frame
    draw()
  } catch (error) { say(error) }
})

function tryOut(line) {
  state.before = state.before || [...state.doc.curves[state.curve]]
  state.trying = line
  attempt(line)
}

function letGo() {
  if (state.before) state.doc.curves[state.curve] = state.before
  state.before = state.trying = state.dragged = null
}

// ---- showing

const showFrame = newest(async () => {
  const began = performance.now(), picture = new Image()
  picture.src = `/editor/${session(`/frame/${state.cursor}?of=${state.doc.revision}&close=${$('close').checked}`)}`
  try { await picture.decode() } catch { return }
  $('frame').src = picture.src
  $('frame').dataset.ms = Math.round(performance.now() - began)
  $('frame').dataset.shown = state.cursor
})

function draw() {
  drawWave(state, $('wave').firstElementChild)
  drawStage(state, $('stage').firstElementChild)
  for (const line of state.doc.table) drawLane(state, $(`lane-${line.name}`).lastElementChild, line)
  drawKeys(); drawCursor()
}

function drawCursor() {
  const box = $('stage').getBoundingClientRect(), home = $('right').getBoundingClientRect()
  const x = place(state, state.cursor / state.doc.fps, box.width)
  const line = $('cursor')
  line.style.left = `${box.left - home.left + x}px`
  line.style.height = `${$('lanes').getBoundingClientRect().bottom - home.top}px`
  line.hidden = x < 0 || x > box.width
  const second = state.cursor / state.doc.fps
  $('clock').textContent = `${second.toFixed(2)} s · ${state.cursor + 1} / ${state.doc.frames} · ${word(state.curve)} ${short(state.doc.curves[state.curve][state.cursor])}`
  $('wave').setAttribute('aria-valuenow', second.toFixed(2))
  $('wave').setAttribute('aria-valuetext', `${second.toFixed(2)} s`)
}

// Points in view only: a long clip has thousands.
function drawKeys() {
  const { width, height } = $('stage').getBoundingClientRect(), home = $('keys'), { start, span } = state.view
  const seen = keys().map((key, index) => [...(state.dragged?.index === index ? state.dragged.point : key), index]).filter(([second]) => second >= start - 1e-6 && second <= start + span + 1e-6)
  while (home.children.length > seen.length) home.lastElementChild.remove()
  seen.forEach(([second, value, index], at) => {
    let dot = home.children[at]
    if (!dot) { dot = document.createElement('button'); dot.className = 'key'; dot.addEventListener('pointerdown', grab); dot.addEventListener('focus', () => choose(+dot.dataset.index)); home.append(dot) }
    const chosen = index === state.key
    dot.dataset.index = index
    dot.tabIndex = chosen || (state.key < 0 && at === 0) ? 0 : -1
    dot.setAttribute('aria-pressed', chosen)
    dot.setAttribute('aria-label', `${word(state.curve)}, ${word('key', { second: second.toFixed(2), value: short(value) })}`)
    dot.style.left = `${place(state, second, width)}px`
    dot.style.top = `${level(state.axis, value, height)}px`
  })
}

function show() {
  const { doc } = state, line = state.line()
  state.axis = limits(line, doc.curves[line.name], $('whole').checked ? 1 : .2)
  $('named').textContent = word(line.name)
  $('about').textContent = `${line.low} … ${line.high} ${word(line.unit)}`
  $('about').title = line.help
  $('where').textContent = state.range ? word('range', { start: state.range[0].toFixed(2), end: state.range[1].toFixed(2) }) : word('whole')
  for (const each of doc.table) $(`lane-${each.name}`).setAttribute('aria-selected', each.name === state.curve)
  $('lanes').setAttribute('aria-activedescendant', `lane-${state.curve}`)
  $('undo').disabled = !doc.edits.length
  $('redo').disabled = !doc.undone.length
  $('count').textContent = doc.edits.length
  const lines = [...doc.past.map((text) => [text, 'past']), ...doc.edits.map((text) => [text, ''])]
  $('edits').replaceChildren(...lines.map(([text, kind]) => {
    const item = document.createElement('li'), code = document.createElement('code')
    code.textContent = text; code.className = kind; item.append(code)
    return item
  }))
  if (!lines.length) { const item = document.createElement('li'); item.textContent = word('no_edits'); $('edits').append(item) }
  $('edits').scrollTop = $('edits').scrollHeight
  for (const box of $('parts').querySelectorAll('input')) box.checked = !doc.parts || doc.parts.includes(box.value)
  draw()
}

// ---- cursor, playing, view

function go(frame) {
  state.cursor = clamp(Math.round(frame), 0, state.doc.frames - 1)
  const second = state.cursor / state.doc.fps, { view } = state
  if (second < view.start || second > view.start + view.span) { view.start = clamp(second - view.span * .1, 0, Math.max(0, total() - view.span)); draw() }
  drawCursor(); showFrame()
}

const total = () => state.doc.frames / state.doc.fps

function play(from = null) {
  const sound = $('sound')
  if (from === null && !sound.paused) return sound.pause()
  sound.currentTime = from ?? (state.cursor >= state.doc.frames - 1 ? 0 : state.cursor / state.doc.fps)
  sound.play().catch(say)
}

function follow() {
  if ($('sound').paused) return
  const frame = Math.floor($('sound').currentTime * state.doc.fps)
  if (frame !== state.cursor) go(frame)
  requestAnimationFrame(follow)
}

function zoom(by, at = state.cursor / state.doc.fps) {
  const { view } = state, span = clamp(view.span * by, Math.min(.5, total()), total())
  view.start = clamp(at - (at - view.start) * span / view.span, 0, total() - span)
  view.span = span
  draw()
}

// ---- changing a curve

function choose(index) { if (index !== state.key) state.nudged = null; state.key = index; drawKeys() }

function pick(name) { state.curve = name; state.key = -1; state.nudged = null; $('gain').value = 1; $('gained').textContent = '×1'; show() }

function moved(index, second, value) {
  const all = keys(), line = state.line(), one = 1 / state.doc.fps
  const before = all[index - 1], after = all[index + 1]
  const low = before ? before[0] + one : all[index][0], high = after ? after[0] - one : all[index][0]
  const at = low > high ? all[index][0] : clamp(Math.round(second * state.doc.fps) * one, low, high)
  return [at, clamp(value, line.low, line.high)]
}

const redrawn = (points) => `draw_curve(track, '${state.curve}', [${points.filter(Boolean).map(([at, value]) => `(${short(at)}, ${short(value)})`).join(', ')}])`
const around = (index, point) => redrawn([keys()[index - 1], point, keys()[index + 1]])

function grab(event) {
  const dot = event.currentTarget, index = +dot.dataset.index, was = keys()[index]
  event.preventDefault(); dot.focus(); choose(index); go(was[0] * state.doc.fps)
  dot.setPointerCapture(event.pointerId)
  let line = null, point = was
  dot.onpointermove = (move) => {
    const box = $('stage').getBoundingClientRect()
    point = moved(index, moment(state, move.clientX - box.left, box.width), valueAt(state.axis, move.clientY - box.top, box.height))
    line = around(index, point)
    state.dragged = { index, point }
    state.cursor = Math.round(point[0] * state.doc.fps)
    drawKeys()
    tryOut(line)
  }
  dot.onpointerup = dot.onpointercancel = (end) => {
    dot.onpointermove = dot.onpointerup = dot.onpointercancel = null
    letGo()
    if (line && end.type === 'pointerup') edit(line, point[0])
    else draw()
  }
}

function nudge(frames, shares) {
  const again = state.nudged?.curve === state.curve && performance.now() - state.nudged.when < 1500
  const all = keys(), [second, value] = again ? state.nudged.point : all[state.key]
  const [before, after] = again ? state.nudged.beside : [all[state.key - 1], all[state.key + 1]]
  const line = state.line(), one = 1 / state.doc.fps
  const at = clamp(second + frames * one, before ? before[0] + one : second, after ? after[0] - one : second)
  const point = [at, clamp(value + shares * (line.high - line.low), line.low, line.high)]
  state.nudged = { curve: state.curve, point, beside: [before, after], when: performance.now() }
  state.cursor = Math.round(at * state.doc.fps)
  edit(redrawn([before, point, after]), at, again)
}

function addKey(second, value = null) {
  const at = clamp(Math.round(second * state.doc.fps), 0, state.doc.frames - 1), all = keys()
  const point = [at / state.doc.fps, value ?? state.doc.curves[state.curve][at]]
  const index = all.findIndex(([each]) => each >= point[0] - 1e-6)
  if (index >= 0 && Math.abs(all[index][0] - point[0]) < 1e-3) return choose(index)
  all.splice(index < 0 ? all.length : index, 0, point)
  choose(index < 0 ? all.length - 1 : index)
  go(at)
  if (value !== null) edit(around(state.key, point), point[0])
}

function removeKey() {
  const all = keys(), [before, , after] = [all[state.key - 1], all[state.key], all[state.key + 1]]
  if (before && after) edit(redrawn([before, after]), before[0])
}

function step(by) {
  const second = state.cursor / state.doc.fps, all = keys()
  const index = by > 0 ? all.findIndex(([at]) => at > second + 1e-3) : all.findLastIndex(([at]) => at < second - 1e-3)
  if (index < 0) return
  choose(index); go(all[index][0] * state.doc.fps)
}

const scaled = (gain) => `scale_curve(track, '${state.curve}', ${short(gain)}${state.range ? `, ${short(state.range[0])}, ${short(state.range[1])}` : ''})`

function mark(end) {
  const second = state.cursor / state.doc.fps, [from, to] = state.range || [0, total()]
  const range = end ? [Math.min(from, second), second] : [second, Math.max(to, second)]
  state.range = range[1] - range[0] > 1e-3 ? range : null
  show()
}

// ---- pointer and keyboard

function setUpStrips() {
  const second = (event) => { const box = $('stage').getBoundingClientRect(); return clamp(moment(state, event.clientX - box.left, box.width), 0, total()) }
  $('wave').addEventListener('pointerdown', (event) => {
    const from = second(event)
    if (!event.shiftKey) return play(from)
    $('wave').setPointerCapture(event.pointerId)
    $('wave').onpointermove = (move) => { const to = second(move); state.range = [Math.min(from, to), Math.max(from, to) + 1e-3]; show() }
    $('wave').onpointerup = () => { $('wave').onpointermove = $('wave').onpointerup = null }
  })
  $('stage').addEventListener('pointerdown', (event) => { if (!event.target.classList.contains('key')) { choose(-1); go(second(event) * state.doc.fps) } })
  $('stage').addEventListener('dblclick', (event) => {
    const box = $('stage').getBoundingClientRect(), line = state.line()
    addKey(second(event), clamp(valueAt(state.axis, event.clientY - box.top, box.height), line.low, line.high))
  })
  for (const strip of [$('wave'), $('stage')]) strip.addEventListener('wheel', (event) => {
    event.preventDefault()
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      state.view.start = clamp(state.view.start + (event.deltaX || event.deltaY) / 800 * state.view.span, 0, total() - state.view.span); draw()
    } else zoom(Math.exp(event.deltaY / 400), second(event))
  }, { passive: false })
}

function otherCurve(by) {
  const names = state.doc.table.map((line) => line.name)
  pick(names[clamp(names.indexOf(state.curve) + by, 0, names.length - 1)])
}

function onKey(event) {
  const typing = event.target.closest('input:not([type=checkbox]), select, textarea, video, #begin')
  if (typing || !state.doc || (event.key === ' ' && event.target.closest('button:not(.key), a, summary, input'))) return
  const fine = event.shiftKey ? .01 : .05, many = event.shiftKey ? 10 : 1, chosen = state.key >= 0, control = event.ctrlKey || event.metaKey
  const does = control ? {
    z: () => change(event.shiftKey ? '/redo' : '/undo'), Z: () => change('/redo'), y: () => change('/redo'), s: () => $('save').click(),
  } : {
    ' ': () => play(),
    ArrowLeft: () => event.altKey && chosen ? nudge(-1, 0) : go(state.cursor - many),
    ArrowRight: () => event.altKey && chosen ? nudge(1, 0) : go(state.cursor + many),
    ArrowUp: () => chosen ? nudge(0, fine) : otherCurve(-1),
    ArrowDown: () => chosen ? nudge(0, -fine) : otherCurve(1),
    Home: () => go(0), End: () => go(state.doc.frames - 1),
    ',': () => step(-1), '.': () => step(1), '<': () => step(-1), '>': () => step(1),
    k: () => addKey(state.cursor / state.doc.fps), Delete: () => chosen && removeKey(), Backspace: () => chosen && removeKey(),
    i: () => mark(false), o: () => mark(true), m: () => edit(scaled(0)), '+': () => zoom(.7), '-': () => zoom(1 / .7),
    Escape: () => { state.key = -1; state.range = null; show() },
  }
  const act = does[event.key]
  if (act) { event.preventDefault(); act() }
}

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
  $('gain').onchange = () => { const line = scaled(+$('gain').value); letGo(); $('gain').value = 1; $('gained').textContent = '×1'; edit(line) }
  $('load').onchange = () => send('load', 'track', '/track', take)
  $('again').onchange = () => send('again', 'voice', '/again', ({ id }) => { location.hash = id; location.reload() })
  for (const [event, name] of [['play', 'pause'], ['pause', 'play'], ['ended', 'play']]) {
    $('sound').addEventListener(event, () => { $('play').textContent = word(name); follow() })
  }
  document.addEventListener('keydown', onKey)
  window.addEventListener('resize', () => state.doc && draw())
}

async function send(input, name, path, then) {
  const form = new FormData()
  form.append(name, $(input).files[0])
  $(input).value = ''
  busy(word('working')); say()
  try { then(await ask(session(path), form)) } catch (error) { await lost(error) } finally { busy('') }
}

// ---- beginning

function lay() {
  $('parts').replaceChildren(...PARTS.map((part) => {
    const label = document.createElement('label'), box = document.createElement('input')
    box.type = 'checkbox'; box.value = part
    box.onchange = () => edit(`select(track, [${[...$('parts').querySelectorAll('input:checked')].map((each) => `'${each.value}'`).join(', ')}])`)
    label.append(box, ` ${word(part)}`)
    return label
  }))
  $('lanes').replaceChildren(...state.doc.table.map((line) => {
    const lane = document.createElement('div'), name = document.createElement('span')
    lane.id = `lane-${line.name}`; lane.className = 'lane'; lane.setAttribute('role', 'option'); lane.title = line.help
    name.textContent = word(line.name)
    lane.append(name, document.createElement('canvas'))
    lane.onclick = () => pick(line.name)
    return lane
  }))
  const cursor = document.createElement('div')
  cursor.id = 'cursor'
  document.getElementById('cursor')?.remove()
  $('right').append(cursor)
}

async function open(id) {
  state.id = id
  try { state.doc = await ask(session()) } catch (error) { return lost(error) }
  location.hash = id
  state.view = { start: 0, span: Math.min(total(), FIRST) }
  $('begin').hidden = true; $('desk').hidden = $('tools').hidden = false
  $('files').textContent = `${state.doc.portrait} · ${state.doc.voice} · ${state.doc.width} × ${state.doc.height} · ${short(state.doc.fps)} fps`
  $('sound').src = `/editor/${session('/voice')}`
  $('save').href = `/editor/${session('/track')}`
  $('wave').setAttribute('aria-label', word('wave')); $('wave').title = word('wave'); $('wave').setAttribute('aria-valuemax', total().toFixed(2))
  $('lanes').setAttribute('aria-label', word('curve')); $('lanes').tabIndex = 0
  $('close').checked = state.doc.far
  lay(); setUpRender(state, session, say); show(); showFrame()
}

for (const each of document.querySelectorAll('[data-word]')) each.textContent = word(each.dataset.word)
$('play').textContent = word('play'); $('frame').alt = word('frame_alt')
$('gain').setAttribute('aria-label', word('strength'))
$('zoom-in').setAttribute('aria-label', word('zoom_in')); $('zoom-out').setAttribute('aria-label', word('zoom_out'))
setUpTools(); setUpStrips()
if (state.id) open(state.id)
else begin(state, open, say, false)
window.addEventListener('hashchange', () => { if (location.hash.slice(1) && location.hash.slice(1) !== state.id) location.reload() })
forget()
