// Renders the edited track with any preset: the queue, progress, a recent frame, the video.

import { ask, word } from './server.js'
import { $, say, state } from './state.js'

const TICK = 250, PLACE = 'echomimic-editor-job'
let running = null

// What each preset takes of the edits; those that cannot run here, and the lines that mend them.
export function layPresets(noHands = '') {
  const chosen = $('preset').value, wrong = new Map()
  $('preset').replaceChildren(...state.clip.presets.map(({ name, takes, mend }) => {
    const option = document.createElement('option'), why = [...mend, ...(takes === 'hands' && noHands ? [noHands] : [])]
    option.value = name; option.disabled = why.length > 0
    option.textContent = `${name}: ${word(`takes_${takes}`)}${why.length ? ` (${word('not_here')})` : ''}`
    for (const each of why) wrong.set(each, [...(wrong.get(each) || []), name])
    return option
  }))
  if ([...$('preset').options].some((each) => each.value === chosen && !each.disabled)) $('preset').value = chosen
  $('mend').hidden = !wrong.size
  $('mend').lastElementChild.replaceChildren(...[...wrong].map(([line, names]) => {
    const item = document.createElement('li'), code = document.createElement('code')
    code.textContent = line; item.append(`${names.join(', ')}: `, code)
    return item
  }))
}

// A preset that takes what is being edited, where the chosen one does not and there is one that can run here.
export function suggestPreset() {
  const suits = (name) => (state.clip.presets.find((each) => each.name === name).takes === 'hands') === (state.kind === 'hands')
  const ready = [...$('preset').options].find((each) => !each.disabled && suits(each.value))
  if (ready && !suits($('preset').value)) $('preset').value = ready.value
}

export function setUpRender(session) {
  layPresets()
  $('quality').replaceChildren(...['draft', 'balanced', 'best'].map((name) => new Option(word(name), name)))
  $('quality').value = 'balanced'
  $('render').onclick = async () => {
    say()
    try { await follow(await ask(session('/render'), { preset: $('preset').value, quality: $('quality').value })) } catch (error) { say(error); rest() }
  }
  $('cancel').onclick = () => running && ask(`jobs/${running}/cancel`, {}).catch(say)
  const [whose, before] = (sessionStorage.getItem(PLACE) || '').split(' ') // a page that was loaded anew in the middle of a video
  if (whose === state.id) ask(`jobs/${before}`).then(follow).catch(rest)
}

const keep = (job) => sessionStorage.setItem(PLACE, `${state.id} ${job.id}`)

function rest() {
  running = null
  sessionStorage.removeItem(PLACE)
  $('render').disabled = false; $('cancel').hidden = $('bar').hidden = $('recent').hidden = true; $('said').textContent = ''
}

function rounded(job) {
  return { ...job, speed: job.speed >= 10 ? job.speed.toFixed(0) : job.speed?.toPrecision(2), left: job.left?.toFixed(0), seconds: job.seconds?.toFixed(2), took: job.took?.toFixed(1) }
}

function doing(job) {
  if (job.ahead) return 'waiting'
  const network = state.clip.presets.find((each) => each.name === job.preset)?.engine === 'diffusion' ? '_network' : ''
  return (job.speed ? 'running' : 'starting') + network
}

async function follow(job) {
  running = job.id
  keep(job)
  $('render').disabled = true; $('cancel').hidden = $('bar').hidden = false
  while (['waiting', 'running'].includes(job.state)) {
    if (job.total) { $('bar').max = job.total; $('bar').value = job.done } else $('bar').removeAttribute('value')
    if (job.preview && $('recent').src !== job.preview) { $('recent').src = job.preview; $('recent').hidden = false }
    $('said').textContent = word(doing(job), rounded(job))
    await new Promise((then) => setTimeout(then, TICK))
    job = await ask(`jobs/${job.id}`)
  }
  rest()
  if (job.state === 'failed') return say({ message: job.error, trouble: job.trouble })
  $('said').textContent = word(job.state, rounded(job))
  if (job.state === 'done') shown(job)
}

function shown(job) {
  const address = `/editor/jobs/${job.id}/video`
  keep(job)
  $('video').src = address; $('video').hidden = false
  $('video').scrollIntoView({ block: 'nearest' })
  $('download').href = address; $('download').download = job.name; $('download').hidden = false
  for (const note of job.notes) $('said').textContent += ` · ${word('note')}: ${note}`
  $('video').play().catch(() => {})
}
