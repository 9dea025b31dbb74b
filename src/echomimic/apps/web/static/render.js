// Renders the edited track with any preset: the queue, progress, the video.

import { ask, word } from './server.js'

const $ = (id) => document.getElementById(id)
const TICK = 250
let running = null

export function setUpRender(state, session, say) {
  const options = (names) => names.map((name) => { const each = document.createElement('option'); each.value = name; each.textContent = word(name); return each })
  $('preset').replaceChildren(...options(Object.keys(state.doc.presets)))
  for (const each of $('preset').options) if (!state.doc.presets[each.value]) { each.disabled = true; each.textContent += ` (${word('no_face')})` }
  $('quality').replaceChildren(...options(['draft', 'balanced', 'best']))
  $('quality').value = 'balanced'
  $('render').onclick = async () => {
    say()
    try { await follow(await ask(session('/render'), { preset: $('preset').value, quality: $('quality').value }), say) } catch (error) { say(error); rest() }
  }
  $('cancel').onclick = () => running && ask(`jobs/${running}/cancel`, {}).catch(say)
}

function rest() {
  running = null
  $('render').disabled = false; $('cancel').hidden = $('bar').hidden = true; $('said').textContent = ''
}

function rounded(job) {
  return { ...job, speed: job.speed?.toFixed(0), left: job.left?.toFixed(0), seconds: job.seconds?.toFixed(2), took: job.took?.toFixed(1) }
}

async function follow(job, say) {
  running = job.id
  $('render').disabled = true; $('cancel').hidden = $('bar').hidden = false
  while (['waiting', 'running'].includes(job.state)) {
    if (job.total) { $('bar').max = job.total; $('bar').value = job.done } else $('bar').removeAttribute('value')
    $('bar').setAttribute('aria-label', word('progress'))
    $('said').textContent = word(job.ahead ? 'waiting' : job.total ? 'running' : 'starting', rounded(job))
    await new Promise((then) => setTimeout(then, TICK))
    job = await ask(`jobs/${job.id}`)
  }
  rest()
  if (job.state === 'failed') return say(job.error)
  $('said').textContent = word(job.state, rounded(job))
  if (job.state !== 'done') return
  const address = `/editor/jobs/${job.id}/video`
  $('video').src = address; $('video').hidden = false
  $('video').scrollIntoView({ block: 'nearest' })
  $('download').href = address; $('download').download = job.name; $('download').hidden = false
  for (const note of job.notes) $('said').textContent += ` · ${word('note')}: ${note}`
  $('video').play().catch(() => {})
}
