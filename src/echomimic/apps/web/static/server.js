// Talks to the server: every answer is JSON, every failure an Error with the one line that the server gave.

export async function ask(path, what) {
  const options = what === undefined ? {} : what instanceof FormData ? { method: 'POST', body: what }
    : { method: 'POST', body: JSON.stringify(what), headers: { 'Content-Type': 'application/json' } }
  let answer
  try { answer = await fetch('/editor/' + path, options) } catch {
    throw Object.assign(new Error('the server does not answer'), { status: 0 })
  }
  const said = await answer.json().catch(() => ({}))
  if (!answer.ok) throw Object.assign(new Error(said.error || `${answer.status} ${answer.statusText}`), { status: answer.status })
  return said
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

const known = JSON.parse(document.getElementById('words').textContent)

export function word(key, values = {}) {
  return (known[key] || key).replace(/\{(\w+)\}/g, (all, name) => name in values ? values[name] : all)
}
