// The first page: an upload past the limit is refused here, in our own words and in place; what was chosen before stays.

const MB = 1 << 20

for (const kind of ['change', 'drop']) document.addEventListener(kind, look, { capture: true })

function look(event) {
  const zone = event.target.closest?.('#portrait, #voice'), files = event.type === 'drop' ? event.dataTransfer?.files : event.target.files
  const said = zone && document.querySelector(`#${zone.id}-limit .em-error`)
  if (!said || !files?.length) return
  const { limit, words } = said.dataset, large = [...files].find((file) => file.size > +limit)
  said.hidden = !large
  if (!large) return
  event.preventDefault(); event.stopImmediatePropagation()
  const values = { name: large.name, size: (large.size / MB).toFixed(1), limit: Math.round(+limit / MB) }
  said.lastElementChild.textContent = words.replace(/\{(\w+)\}/g, (all, name) => values[name])
  if (event.type === 'change') event.target.value = ''
}
