// How a session begins: files chosen here. Edits are kept in this browser, so that a server that restarts loses none.

import { ask, word } from './server.js'
import { $ } from './state.js'

const PLACE = 'echomimic-edits', DAYS = 7

// `lines` are the edits by what they change.
export function remember(lines) {
  if (count(lines)) localStorage.setItem(PLACE, JSON.stringify({ lines, at: Date.now() }))
}

export function forget() {
  if (Date.now() - (kept()?.at ?? Date.now()) > DAYS * 864e5) localStorage.removeItem(PLACE)
}

function kept() {
  try { return JSON.parse(localStorage.getItem(PLACE)) } catch { return null }
}

const count = (lines) => Object.values(lines).reduce((sum, each) => sum + each.length, 0)

export async function begin(open, say, lost) {
  const form = $('begin'), box = $('restore').firstElementChild, lines = kept()?.lines || {}
  form.hidden = false
  $('desk').hidden = $('tools').hidden = true
  $('lost').hidden = !lost
  $('restore').hidden = !count(lines)
  box.checked = lost
  $('restore').lastElementChild.textContent = word('restore', { count: count(lines) })
  const start = async (data) => {
    const buttons = form.querySelectorAll('button')
    if (count(lines) && box.checked) data.append('edits', JSON.stringify(lines))
    for (const each of buttons) each.disabled = true
    say(); $('working').hidden = false
    try { await open((await ask('sessions', data)).id) } catch (error) { say(error) }
    $('working').hidden = true
    for (const each of buttons) each.disabled = false
  }
  form.onsubmit = (event) => {
    event.preventDefault()
    const data = new FormData(form)
    if (!data.get('track')?.size) data.delete('track')
    start(data)
  }
  $('example').onclick = () => { const data = new FormData(); data.append('example', '1'); start(data) }
}
