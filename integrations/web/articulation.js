// @ts-check
// Speech to mouth curves in a browser or in node: log-mel features, a small convolutional network, mouth shaping.
// The same curves as echomimic.mesh.speech_to_face computes in Python; the weights are its file, unchanged.
//
//   const network = await loadNetwork("articulation.safetensors")
//   const { curves } = mouthCurves(network, samples, 25)          // samples: Float32Array, 16 kHz mono in -1..1
//   curves[frame].jaw, .spread, .upper_lip, .tuck, .closure, .tongue
//   arkit(curves[frame]).jawOpen

export const SAMPLE_RATE = 16000
export const CURVES = ["jaw", "spread", "upper_lip", "tuck", "closure", "tongue"]
const HOP = 160
const WINDOW = 400
const FFT = 512
const BANDS = 40
const SECOND = 100
const RATE = 50
const REACH = 12
const FLOOR = 1e-3
const QUIET = 0.07
const PRE_EMPHASIS = 0.97
const WARPS = [0.95, 1.0, 1.05]

/** @typedef {{data: Float32Array, shape: number[]}} Tensor a weight has its taps first: (taps, out, in) */
/** @typedef {{tensors: Record<string, Tensor>, dilations: number[], ahead: number[]}} Network */

/**
 * Read the weights (a safetensors file, float16 or float32).
 * @param {string | ArrayBuffer} source an address, or the file's bytes
 * @returns {Promise<Network>}
 */
export async function loadNetwork(source) {
  const buffer = typeof source === "string" ? await (await fetch(source)).arrayBuffer() : source
  const view = new DataView(buffer)
  const length = Number(view.getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)))
  const { __metadata__: metadata, ...entries } = header
  /** @type {Record<string, Tensor>} */
  const tensors = {}
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(entries)) {
    const at = 8 + length + data_offsets[0]
    const size = shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1)
    const data = new Float32Array(size)
    for (let i = 0; i < size; i++) {
      data[i] = dtype === "F16" ? half(view.getUint16(at + 2 * i, true)) : view.getFloat32(at + 4 * i, true)
    }
    tensors[name] = { data: shape.length === 3 ? tapsFirst(data, shape) : data, shape }
  }
  const dilations = metadata.dilations.split(" ").map(Number)
  const ahead = metadata.ahead ? metadata.ahead.split(" ").map(Number) : dilations
  return { tensors, dilations, ahead }
}

/**
 * The weights (out, in, taps) as (taps, out, in), so that the inner loop reads them in order.
 * @param {Float32Array} data
 * @param {number[]} shape
 */
function tapsFirst(data, [outputs, inputs, taps]) {
  const result = new Float32Array(data.length)
  for (let at = 0; at < data.length; at++) {
    const tap = at % taps
    result[tap * outputs * inputs + (at - tap) / taps] = data[at]
  }
  return result
}

/** @param {number} bits */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024))
}

/**
 * Mouth curves of a whole recording.
 * @param {Network} network
 * @param {Float32Array} samples 16 kHz mono in -1..1
 * @param {number} fps
 * @param {number} [strength] how wide the mouth moves
 */
export function mouthCurves(network, samples, fps, strength = 1) {
  const features = analyze(network, samples)
  const frames = Math.max(1, Math.round((samples.length / SAMPLE_RATE) * fps))
  return { fps, features, curves: shapeMouth(features, frames, fps, strength) }
}

// ---- log-mel features

/** @returns {Float32Array[]} for each band a weight per bin */
function melFilters() {
  const mel = (/** @type {number} */ hertz) => 2595 * Math.log10(1 + hertz / 700)
  const [low, high] = [mel(50), mel(7600)]
  const edges = Array.from(
    { length: BANDS + 2 },
    (_, k) => 700 * (10 ** ((low + ((high - low) * k) / (BANDS + 1)) / 2595) - 1),
  )
  return Array.from({ length: BANDS }, (_, band) =>
    Float32Array.from({ length: FFT / 2 + 1 }, (_, bin) => {
      const hertz = (bin * SAMPLE_RATE) / FFT
      const rising = (hertz - edges[band]) / (edges[band + 1] - edges[band])
      const falling = (edges[band + 2] - hertz) / (edges[band + 2] - edges[band + 1])
      return Math.max(0, Math.min(rising, falling))
    }),
  )
}

/**
 * Mel power of every 10 ms, with a second of silence at both ends.
 * @param {Float32Array} samples
 * @returns {Float64Array[]}
 */
function melPower(samples) {
  const filters = melFilters()
  const shape = Float64Array.from({ length: WINDOW }, (_, k) => 0.5 - 0.5 * Math.cos((2 * Math.PI * k) / WINDOW))
  const padded = new Float64Array(samples.length + WINDOW)
  for (let i = 0; i < samples.length; i++) {
    padded[WINDOW / 2 + i] = clean(samples[i]) - PRE_EMPHASIS * (i ? clean(samples[i - 1]) : 0)
  }
  // the half window of silence after the sound begins with the echo of its last sample
  if (samples.length) padded[WINDOW / 2 + samples.length] = -PRE_EMPHASIS * clean(samples[samples.length - 1])
  const count = Math.max(0, Math.floor((padded.length - WINDOW) / HOP) + 1)
  const silence = () => Array.from({ length: SECOND }, () => new Float64Array(BANDS))
  const power = silence()
  const [real, imaginary] = [new Float64Array(FFT), new Float64Array(FFT)]
  for (let frame = 0; frame < count; frame++) {
    real.fill(0)
    imaginary.fill(0)
    for (let k = 0; k < WINDOW; k++) real[k] = padded[frame * HOP + k] * shape[k]
    fft(real, imaginary)
    power.push(
      Float64Array.from(filters, (filter) => {
        let sum = 0
        for (let bin = 0; bin < filter.length; bin++) sum += filter[bin] * (real[bin] ** 2 + imaginary[bin] ** 2)
        return sum
      }),
    )
  }
  return [...power, ...silence()]
}

/** @param {number} value */
const clean = (value) => (Number.isFinite(value) ? value : 0)

/**
 * Fast Fourier transform in place (Cooley and Tukey 1965); the length is a power of two.
 * @param {Float64Array} real
 * @param {Float64Array} imaginary
 */
function fft(real, imaginary) {
  const size = real.length
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1
    for (; j & bit; bit >>= 1) j ^= bit
    j ^= bit
    if (i < j) {
      ;[real[i], real[j]] = [real[j], real[i]]
      ;[imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]]
    }
  }
  for (let span = 2; span <= size; span <<= 1) {
    for (let k = 0; k < span / 2; k++) {
      const angle = (-2 * Math.PI * k) / span
      const [c, s] = [Math.cos(angle), Math.sin(angle)]
      for (let a = k; a < size; a += span) {
        const b = a + span / 2
        const re = real[b] * c - imaginary[b] * s
        const im = real[b] * s + imaginary[b] * c
        ;[real[b], imaginary[b]] = [real[a] - re, imaginary[a] - im]
        ;[real[a], imaginary[a]] = [real[a] + re, imaginary[a] + im]
      }
    }
  }
}

/** @param {ArrayLike<number>} values */
function sum(values) {
  let total = 0
  for (let i = 0; i < values.length; i++) total += values[i]
  return total
}

/**
 * Means over neighbouring seconds: full weight up to 6 seconds away, none from 12 on.
 * @param {number[][]} values per second
 * @param {number[]} weight per second
 * @returns {number[][]}
 */
function localMean(values, weight) {
  return values.map((_, here) => {
    const near = values.map(
      (_, there) => Math.min(1, Math.max(0, (REACH - Math.abs(here - there)) / (REACH / 2))) * weight[there],
    )
    const total = sum(near) + 1e-9
    return values[0].map((_, column) => values.reduce((all, row, k) => all + (near[k] / total) * row[column], 0))
  })
}

/**
 * Values at the middle of each second, interpolated to frames.
 * @param {number[][]} values
 * @param {number} frames
 */
function perFrame(values, frames) {
  return Array.from({ length: frames }, (_, frame) => {
    const at = Math.min(values.length - 1, Math.max(0, (frame + 0.5) / SECOND - 0.5))
    const low = Math.floor(at)
    const high = Math.min(low + 1, values.length - 1)
    return values[low].map((value, k) => value * (1 - (at - low)) + values[high][k] * (at - low))
  })
}

/** @param {number[]} values @param {number} share */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = share * (sorted.length - 1)
  const low = Math.floor(at)
  return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low])
}

/** @param {Float64Array[]} power */
function frameLevel(power) {
  const energy = power.map(sum)
  const [loud, weight] = [/** @type {number[][]} */ ([]), /** @type {number[]} */ ([])]
  for (let k = 0; k < energy.length; k += SECOND) {
    const part = energy.slice(k, k + SECOND)
    loud.push([quantile(part, 0.8) ** 2])
    weight.push(part.filter((value) => value !== 0).length / SECOND)
  }
  const means = localMean(loud, weight).map(([value]) => [Math.sqrt(value)])
  return perFrame(means, energy.length).map(([value]) => Math.max(QUIET, value))
}

/** @param {Float64Array[]} power @param {number[]} level */
function normalize(power, level) {
  const logs = power.map((row, t) => Array.from(row, (value) => Math.log(value + (level[t] * FLOOR) / BANDS)))
  const sounding = power.map((row, t) => 0.02 + 1 / (1 + Math.exp(-4 * (Math.log10(sum(row) / level[t] + 1e-9) + 2.2))))
  const seconds = Math.ceil(power.length / SECOND)
  const columns = 1 + 2 * BANDS
  const totals = Array.from({ length: seconds }, () => new Array(columns).fill(0))
  logs.forEach((row, t) => {
    const total = totals[Math.floor(t / SECOND)]
    total[0] += sounding[t]
    row.forEach((value, band) => {
      total[1 + band] += sounding[t] * value
      total[1 + BANDS + band] += sounding[t] * value ** 2
    })
  })
  const statistics = localMean(
    totals,
    totals.map(() => 1),
  ).map((row) => {
    const means = row.slice(1, 1 + BANDS).map((value) => value / row[0])
    const spreads = means.map((mean, k) => Math.sqrt(Math.max(row[1 + BANDS + k] / row[0] - mean ** 2, 0)) + 0.3)
    return [...means, ...spreads]
  })
  return perFrame(statistics, power.length).map((row, t) =>
    Float64Array.from(logs[t], (value, band) => (value - row[band]) / row[BANDS + band]),
  )
}

// ---- the network

/** @param {number} x */
const gelu = (x) => 0.5 * x * (1 + Math.tanh(0.7978845608 * (x + 0.044715 * x ** 3)))

/**
 * A convolution over time; steps outside count as zero.
 * @param {Float64Array[]} input
 * @param {Tensor} weight
 * @param {Tensor} bias
 * @param {number} count outputs
 * @param {(output: number, tap: number) => number} place the input of an output's tap
 */
function convolve(input, { data, shape }, bias, count, place) {
  const [outputs, inputs, taps] = shape
  return Array.from({ length: count }, (_, t) => {
    const result = Float64Array.from(bias.data)
    for (let tap = 0; tap < taps; tap++) {
      const row = input[place(t, tap)]
      if (!row) continue
      for (let o = 0; o < outputs; o++) {
        let total = 0
        const at = (tap * outputs + o) * inputs
        for (let i = 0; i < inputs; i++) total += data[at + i] * row[i]
        result[o] += total
      }
    }
    return result
  })
}

/** @param {Network} network @param {Float64Array[]} features @returns {Float64Array[]} */
function run({ tensors, dilations, ahead }, features) {
  const layer = (/** @type {string} */ name) =>
    /** @type {const} */ ([tensors[`${name}.weight`], tensors[`${name}.bias`]])
  const count = (features.length + 1) >> 1
  let hidden = convolve(features, ...layer("stem"), count, (t, tap) => 2 * t + tap - 2).map((row) => row.map(gelu))
  dilations.forEach((step, k) => {
    const past = 2 * step - ahead[k]
    const added = convolve(hidden, ...layer(`blocks.${k}`), count, (t, tap) => t + tap * step - past)
    hidden = hidden.map((row, t) => row.map((value, i) => value + gelu(added[t][i])))
  })
  return convolve(hidden, ...layer("head"), count, (t) => t)
}

/** @param {Float64Array[]} features @param {number} warp */
function warpBands(features, warp) {
  return features.map((row) =>
    Float64Array.from(row, (_, band) => {
      const at = Math.min(BANDS - 1, Math.max(0, band * warp))
      const low = Math.floor(at)
      return row[low] * (1 - (at - low)) + row[Math.min(low + 1, BANDS - 1)] * (at - low)
    }),
  )
}

/** The mean over three warps of the bands and shifts of 10 ms. @param {Network} network @param {Float64Array[]} features */
function augmentedMean(network, features) {
  const count = (features.length + 1) >> 1
  const total = Array.from({ length: count }, () => new Float64Array(7))
  for (const warp of WARPS) {
    const warped = warpBands(features, warp)
    const middle = run(network, warped)
    const between = run(network, warped.length > 1 ? warped.slice(1) : warped)
    for (let t = 0; t < count; t++) {
      const later = between[Math.min(t, between.length - 1)]
      const earlier = between[Math.max(0, Math.min(t - 1, between.length - 1))]
      for (let k = 0; k < 7; k++) total[t][k] += (0.5 * middle[t][k] + 0.25 * (earlier[k] + later[k])) / WARPS.length
    }
  }
  return total
}

/**
 * Articulation at 50 Hz.
 * @param {Network} network
 * @param {Float32Array} samples
 */
export function analyze(network, samples) {
  const power = melPower(samples)
  const level = frameLevel(power)
  const outputs = augmentedMean(network, normalize(power, level)).slice(SECOND / 2, -SECOND / 2)
  const column = (/** @type {number} */ k) => outputs.map((row) => row[k])
  const at = (/** @type {number} */ t) => SECOND + 2 * t
  return {
    gap: column(0),
    width: column(1),
    upper_lip: column(2),
    tuck: column(3),
    tongue: column(4),
    speech: column(5),
    closure: column(6).map((x) => 1 / (1 + Math.exp(-Math.min(30, Math.max(-30, x))))),
    level: outputs.map((_, t) => level[at(t)] / QUIET),
    loudness: outputs.map((_, t) => 10 * Math.log10(sum(power[at(t)]) / level[at(t)] + 1e-6)),
  }
}

// ---- mouth shapes

/** @param {boolean[]} flags @returns {[number, number][]} start and stop of each run of true */
function runsOf(flags) {
  /** @type {[number, number][]} */
  const found = []
  flags.forEach((flag, t) => {
    if (!flag) return
    if (t && flags[t - 1]) found[found.length - 1][1] = t + 1
    else found.push([t, t + 1])
  })
  return found
}

/** @param {boolean[]} flags @param {number} length @param {boolean} value */
function withoutShortRuns(flags, length, value) {
  const result = [...flags]
  for (const [start, stop] of runsOf(flags.map((flag) => flag === value))) {
    if (stop - start < length) result.fill(!value, start, stop)
  }
  return result
}

const ease = (/** @type {number} */ x) => x * x * (3 - 2 * x)
const clip = (/** @type {number} */ x, low = 0, high = 1) => Math.min(high, Math.max(low, x))

/** @param {boolean[]} speaks @param {boolean[]} silent @returns {number[]} */
function gateOf(speaks, silent) {
  const size = speaks.length
  const active = speaks.map((flag, t) => flag || !silent[t])
  for (const [start, stop] of runsOf(active.map((flag) => !flag))) {
    if (start > 0 && stop < size && stop - start < 0.15 * RATE) active.fill(true, start, stop)
  }
  for (const [start, stop] of runsOf(speaks.map((flag) => !flag))) {
    if (start === 0 || stop === size || stop - start >= RATE) active.fill(false, start, stop)
  }
  const first = active.indexOf(true)
  const last = active.lastIndexOf(true)
  if (first < 0) return new Array(size).fill(0)
  const [since, until] = [new Array(size).fill(Infinity), new Array(size).fill(Infinity)]
  for (let t = 0, seen = -Infinity; t < size; t++) since[t] = (t - (seen = active[t] ? t : seen)) / RATE
  for (let t = size - 1, seen = Infinity; t >= 0; t--) {
    until[t] = t >= last ? Infinity : (seen - t) / RATE
    if (active[t]) seen = t
  }
  const left = (size - 1 - last) / RATE
  const end = (size - 1) / RATE
  return active.map((_, t) => {
    const haste = t > last ? Math.min(1, Math.max(0.05, left / 0.16)) : 1
    const falling = clip(1 - since[t] / haste / 0.16)
    const rise = t < first ? Math.min(0.12, Math.max(first / RATE, 1e-3)) : 0.12
    const rising = clip(1 - until[t] / rise)
    const ends = clip(Math.min(t / RATE, end - t / RATE - 0.05) / 0.12)
    return ease(ends * Math.max(falling, rising))
  })
}

/** @param {number[]} probability */
function closuresOf(probability) {
  const shut = probability.map(() => false)
  for (const [start, stop] of runsOf(probability.map((p) => p > 0.5))) {
    const trim = stop - start > 3 ? 1 : 0
    shut.fill(true, start + trim, stop - trim)
  }
  const core = shut.flatMap((flag, t) => (flag ? [t] : []))
  return shut.map((_, t) => {
    const away = core.reduce((least, at) => Math.min(least, Math.abs(at - t)), Infinity)
    return ease(clip(1 - away / RATE / 0.03))
  })
}

/** @param {number[]} values @param {number} seconds */
function smooth(values, seconds) {
  const sigma = seconds * RATE
  const reach = Math.max(1, Math.round(3 * sigma))
  const weights = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-0.5 * ((k - reach) / sigma) ** 2))
  const total = sum(weights)
  return values.map((_, t) =>
    weights.reduce((all, weight, k) => all + (weight / total) * values[clip(t + k - reach, 0, values.length - 1)], 0),
  )
}

/** @param {number[]} values at 50 Hz @param {number} frames @param {number} fps */
function toFrames(values, frames, fps) {
  const points = Math.max(1, Math.ceil(RATE / fps))
  const known = [...values, 0]
  return Array.from({ length: frames }, (_, frame) => {
    let total = 0
    for (let k = 0; k < points; k++) {
      const at = Math.min(known.length - 1, (frame + (k + 0.5) / points) * (RATE / fps))
      const low = Math.floor(at)
      total += known[low] + (at - low) * (known[Math.min(low + 1, known.length - 1)] - known[low])
    }
    return total / points
  })
}

/** @param {number[]} values @param {number} frames @param {number} fps */
function peaks(values, frames, fps) {
  const known = [...values, 0]
  return Array.from({ length: frames }, (_, frame) => {
    const edge = (frame / fps) * RATE
    const first = Math.min(fps < RATE ? Math.ceil(edge) : Math.floor(edge), known.length - 1)
    const last = Math.max(Math.min(Math.ceil(((frame + 1) / fps) * RATE), known.length), first + 1)
    return Math.max(...known.slice(first, last))
  })
}

/**
 * @param {ReturnType<typeof analyze>} features
 * @param {number} frames
 * @param {number} fps
 * @param {number} strength
 * @returns {Record<string, number>[]} one record per frame
 */
export function shapeMouth(features, frames, fps, strength = 1) {
  const heard = features.speech.map((speech, t) => speech > 0.5 && features.level[t] > 1.5)
  const speaks = withoutShortRuns(withoutShortRuns(heard, 3, true), 3, false)
  const gate = gateOf(
    speaks,
    features.loudness.map((loudness) => loudness < -25),
  )
  const firm = Math.min(1, strength)
  const loud = smooth(features.loudness, 0.03).map((decibels) => clip(1 + decibels / 25, 0, 1.2))
  const jaw = features.gap.map((gap, t) => {
    const x = Math.max((gap - 0.15) / 0.45, 0)
    return Math.tanh(1.45 * x ** 1.6) * (0.75 + 0.25 * loud[t]) * gate[t] * strength
  })
  const spread = smooth(features.width, 0.05).map(
    (width, t) => Math.tanh((width < 0 ? 3.8 : 6.5) * width + 0.14) * gate[t] * strength,
  )
  const columns = {
    jaw: toFrames(jaw, frames, fps),
    spread: toFrames(spread, frames, fps),
    upper_lip: toFrames(
      features.upper_lip.map((up, t) => clip((up - 0.1) * 1.4) * gate[t] * strength),
      frames,
      fps,
    ),
    tuck: toFrames(
      features.tuck.map((tuck, t) => clip((tuck - 0.15) / 0.5) * gate[t] * firm),
      frames,
      fps,
    ),
    closure: peaks(
      closuresOf(features.closure).map((shut, t) => shut * gate[t] * firm),
      frames,
      fps,
    ),
    tongue: toFrames(
      features.tongue.map((tongue, t) => clip(tongue / 0.8) * gate[t] * firm),
      frames,
      fps,
    ),
  }
  return Array.from({ length: frames }, (_, t) =>
    Object.fromEntries(
      CURVES.map((name) => [name, clip(columns[/** @type {"jaw"} */ (name)][t], name === "spread" ? -1 : 0)]),
    ),
  )
}

/**
 * The mouth of a frame as ARKit's blendshapes; docs/integrations.md has the table.
 * @param {Record<string, number>} curves
 */
export function arkit({ jaw, spread, upper_lip, tuck, closure }) {
  const [narrow, wide] = [Math.max(-spread, 0), Math.max(spread, 0)]
  const press = closure * (1 - jaw)
  return {
    jawOpen: jaw,
    mouthClose: jaw * closure,
    mouthFunnel: narrow * jaw,
    mouthPucker: narrow * (1 - jaw),
    mouthStretchLeft: wide,
    mouthStretchRight: wide,
    mouthUpperUpLeft: upper_lip,
    mouthUpperUpRight: upper_lip,
    mouthRollLower: tuck,
    mouthPressLeft: press,
    mouthPressRight: press,
  }
}
