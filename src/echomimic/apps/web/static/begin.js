// How a session begins: files chosen here. Edits are kept in this browser, so that a server that restarts loses none.

import { ask, word } from './server.js'

const PLACE = 'echomimic-edits', DAYS = 7
const $ = (id) => document.getElementById(id)

export function remember({ doc }) {
  const lines = [...doc.past, ...doc.edits]
  if (lines.length) localStorage.setItem(PLACE, JSON.stringify({ lines, at: Date.now() }))
}

export function forget() {
  if (Date.now() - (kept()?.at ?? Date.now()) > DAYS * 864e5) localStorage.removeItem(PLACE)
}

function kept() {
  try { return JSON.parse(localStorage.getItem(PLACE)) } catch { return null }
}

export async function begin(state, open, say, lost) {
  const form = $('begin'), box = $('restore').firstElementChild, lines = kept()?.lines || []
  form.hidden = false
  $('desk').hidden = $('tools').hidden = true
  $('lost').hidden = !lost
  $('restore').hidden = !lines.length
  box.checked = lost
  $('restore').lastElementChild.textContent = word('restore', { count: lines.length })
  const start = async (data) => {
    const buttons = form.querySelectorAll('button')
    if (lines.length && box.checked) data.append('edits', JSON.stringify(lines))
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
