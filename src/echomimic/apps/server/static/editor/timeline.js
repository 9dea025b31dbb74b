// @ts-check
// Draws the time line: the wave form, the chosen curve with its limits, a row for each curve.

const NAMES = ["ink", "soft", "line", "curve", "wave", "closure", "gap", "range"]
let colour = /** @type {Record<string, string>} */ ({})

// Reads the colours of the theme; called before each drawing of the time line.
export function readColours() {
  const style = getComputedStyle(document.documentElement)
  colour = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`)]))
}

function pen(canvas) {
  const scale = window.devicePixelRatio || 1,
    { width, height } = canvas.getBoundingClientRect()
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale)
    canvas.height = Math.round(height * scale)
  }
  const draw = canvas.getContext("2d")
  draw.setTransform(scale, 0, 0, scale, 0, 0)
  draw.clearRect(0, 0, width, height)
  return { draw, width, height }
}

export const place = (state, second, width) => ((second - state.view.start) / state.view.span) * width
export const moment = (state, x, width) => state.view.start + (x / width) * state.view.span

// The range of values that is drawn: the whole range of a curve, or the part that it uses if it moves little.
export function limits(line, values, least) {
  let low = line.usual < 1 ? values[0] : line.rest,
    high = low
  for (const value of values) {
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  const whole = line.high - line.low,
    wanted = Math.min(whole, Math.max(2 * (high - low), least * line.usual * whole))
  if (wanted > 0.7 * whole) [low, high] = [line.low, line.high]
  else {
    const middle = Math.min(Math.max((low + high) / 2, line.low + wanted / 2), line.high - wanted / 2)
    ;[low, high] = [middle - wanted / 2, middle + wanted / 2]
  }
  const room = (high - low) * 0.06
  return line.down ? [high + room, low - room] : [low - room, high + room]
}

export const level = ([low, high], value, height) => height * (1 - (value - low) / (high - low))
export const valueAt = ([low, high], y, height) => low + (1 - y / height) * (high - low)

function shade(state, { draw, width, height }, from, to, fill) {
  const left = place(state, from, width),
    right = place(state, to, width)
  draw.fillStyle = fill
  draw.fillRect(left, 0, Math.max(2, right - left), height)
}

function trace(state, { draw, width, height }, axis, values, ink, thick) {
  const { fps } = state.doc,
    first = Math.max(0, Math.floor(state.view.start * fps)),
    last = Math.min(values.length - 1, Math.ceil((state.view.start + state.view.span) * fps))
  const step = Math.max(1, Math.floor((last - first) / width / 2))
  draw.strokeStyle = ink
  draw.lineWidth = thick
  draw.lineJoin = "round"
  draw.beginPath()
  for (let i = first; i <= last; i += step) {
    const some = values.slice(i, i + step) // minimum and maximum of the values in one pixel, so that no blink is lost
    for (const value of step > 1 ? [Math.min(...some), Math.max(...some)] : some)
      draw.lineTo(place(state, i / fps, width), level(axis, value, height))
  }
  draw.stroke()
}

function ticks(span, width) {
  const wanted = span / (width / 80)
  return [0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300].find((step) => step >= wanted) || 600
}

export function drawWave(state, canvas) {
  const on = pen(canvas),
    { draw, width, height } = on,
    { peaks } = state.clip
  if (state.range) shade(state, on, ...state.range, colour.range)
  if (state.doc.curves.closure) for (const [from, to] of state.clip.closures) shade(state, on, from, to, colour.closure)
  draw.fillStyle = colour.wave
  for (let x = 0; x < width; x += 2) {
    const from = Math.floor(moment(state, x, width) * 100),
      to = Math.max(from + 1, Math.floor(moment(state, x + 2, width) * 100))
    let peak = 0
    for (let i = Math.max(0, from); i < Math.min(to, peaks.length); i++) peak = Math.max(peak, peaks[i])
    const tall = Math.max(1, peak * (height - 18))
    draw.fillRect(x, (height - 14 - tall) / 2 + 14, 1.4, tall)
  }
  const step = ticks(state.view.span, width)
  draw.fillStyle = colour.ink
  draw.font = "11px system-ui"
  for (let t = Math.ceil(state.view.start / step) * step; t < state.view.start + state.view.span; t += step) {
    const x = place(state, t, width)
    draw.fillRect(x, 0, 1, 5)
    draw.fillText(`${+t.toFixed(2)} s`, x + 3, 10)
  }
}

// Shade the closures that the voice asks for, by whether the lips close there.
function shadeClosures(state, on, shut) {
  const { fps } = state.doc
  for (const [from, to] of state.clip.closures) {
    const inside = shut.slice(Math.round(from * fps), Math.max(Math.round(to * fps), Math.round(from * fps) + 1))
    shade(state, on, from, to, Math.max(...inside) >= 0.5 ? colour.closure : colour.gap)
  }
}

// `lines` are the handles of the chosen point: pairs of second and value.
export function drawCurve(state, canvas, lines = []) {
  const on = pen(canvas),
    { draw, width, height } = on,
    line = state.line(),
    values = state.doc.curves[line.name],
    axis = state.axis
  if (state.range) shade(state, on, ...state.range, colour.range)
  if (state.doc.curves.closure) shadeClosures(state, on, state.doc.curves.closure)
  for (const value of new Set([line.low, line.rest, line.high])) {
    const y = level(axis, value, height)
    draw.strokeStyle = colour.line
    draw.lineWidth = 1
    draw.setLineDash(value === line.rest ? [4, 4] : [])
    draw.beginPath()
    draw.moveTo(0, y)
    draw.lineTo(width, y)
    draw.stroke()
  }
  draw.setLineDash([])
  if (state.behind?.kind === state.kind) trace(state, on, axis, state.behind.curves[line.name], colour.wave, 1.2)
  if (state.before) trace(state, on, axis, state.before[line.name], colour.line, 1.5)
  trace(state, on, axis, values, colour.curve, 2)
  draw.strokeStyle = colour.ink
  draw.lineWidth = 1
  for (const ends of lines) {
    draw.beginPath()
    for (const [at, value] of ends) draw.lineTo(place(state, at, width), level(axis, value, height))
    draw.stroke()
  }
  draw.fillStyle = colour.ink
  draw.font = "11px system-ui"
  const [low, high] = axis,
    room = ((high - low) * 0.06) / 1.12
  for (const [value, y] of [
    [high - room, 9],
    [low + room, height - 2],
  ])
    draw.fillText(`${+value.toFixed(2)} ${state.word(line.unit)}`, 4, y)
}

export function drawTrack(state, canvas, line) {
  const on = pen(canvas)
  if (state.clip.regions.mouth.includes(line.name))
    for (const [from, to] of state.clip.closures) shade(state, on, from, to, colour.closure)
  const values = state.doc.curves[line.name]
  trace(state, on, limits(line, values, 0.1), values, line.name === state.curve ? colour.curve : colour.wave, 1.2)
}
