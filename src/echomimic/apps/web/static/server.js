// Talks to the server: every answer is JSON, every failure an Error with the one line that the server gave.

const known = JSON.parse(document.getElementById('words').textContent)
const LIMIT = +document.documentElement.dataset.limit, MB = 1 << 20

export async function ask(path, what) {
  const options = what === undefined ? {} : what instanceof FormData ? { method: 'POST', body: small(what) }
    : { method: 'POST', body: JSON.stringify(what), headers: { 'Content-Type': 'application/json' } }
  let answer
  try { answer = await fetch('/editor/' + path, options) } catch {
    throw Object.assign(new Error(word('no_answer')), { status: 0 })
  }
  const said = await answer.json().catch(() => ({}))
  if (!answer.ok) throw Object.assign(new Error(said.error || `${answer.status} ${answer.statusText}`), { status: answer.status, trouble: said.trouble })
  return said
}

// A form that the server takes: refused here, because an answer in the middle of an upload is lost.
function small(form) {
  const files = [...form.values()].filter((each) => each instanceof File), size = files.reduce((sum, file) => sum + file.size, 0)
  if (size > LIMIT) {
    const name = files.map((file) => file.name).join(' + ')
    throw new Error(word('too_large', { name, size: (size / MB).toFixed(1), limit: Math.round(LIMIT / MB) }))
  }
  return form
}

// Runs only the newest of many calls, one at a time: what piles up behind a slow one is dropped.
export function newest(run) {
  let busy = false, next
  return async function call(...args) {
    next = args
    if (busy) return
    busy = true
    try { while (next) { const now = next; next = undefined; await run(...now) } } finally { busy = false }
  }
}

export function word(key, values = {}) {
  return (known[key] || key).replace(/\{(\w+)\}/g, (all, name) => name in values ? values[name] : all)
}

// What to do about an error of this class; nothing in English, where the error says it.
export const advice = (trouble) => known[trouble] || ''
