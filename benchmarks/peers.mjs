// Lip sync libraries for the web, run on sound files in Node: `node peers.mjs <node_modules> <float32 file>...`.
// Each file holds mono samples at 48 kHz; one JSON line per file: weights of visemes at 50 frames per second.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const RATE = 48000, FPS = 50, HOP = RATE / FPS;
const [folder, ...files] = process.argv.slice(2);
let now = 0; // milliseconds of sound
performance.now = () => now;

// The AnalyserNode of the Web Audio API: Blackman window, smoothing over time, decibels to bytes.
class Analyser {
  constructor() { this.fftSize = 2048; this.minDecibels = -100; this.maxDecibels = -30; this.smoothed = null; this.sound = null; this.end = 0; }
  get frequencyBinCount() { return this.fftSize / 2; }
  connect() {}
  getByteFrequencyData(bytes) {
    const n = this.fftSize, re = new Float64Array(n), im = new Float64Array(n);
    for (let k = 0; k < n; k++) {
      const at = this.end - n + k, w = 0.42 - 0.5 * Math.cos((2 * Math.PI * k) / n) + 0.08 * Math.cos((4 * Math.PI * k) / n);
      re[k] = at >= 0 && at < this.sound.length ? this.sound[at] * w : 0;
    }
    fft(re, im);
    this.smoothed ??= new Float64Array(n / 2);
    for (let k = 0; k < n / 2; k++) {
      this.smoothed[k] = 0.8 * this.smoothed[k] + (0.2 * Math.hypot(re[k], im[k])) / n;
      const db = 20 * Math.log10(this.smoothed[k] + 1e-20);
      bytes[k] = Math.max(0, Math.min(255, Math.floor((255 / (this.maxDecibels - this.minDecibels)) * (db - this.minDecibels))));
    }
  }
}

function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let size = 2; size <= n; size <<= 1) {
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < size / 2; k++) {
        const a = (-2 * Math.PI * k) / size, c = Math.cos(a), s = Math.sin(a), p = start + k, q = p + size / 2;
        const x = re[q] * c - im[q] * s, y = re[q] * s + im[q] * c;
        re[q] = re[p] - x; im[q] = im[p] - y; re[p] += x; im[p] += y;
      }
    }
  }
}

let analyser = null;
globalThis.window = { AudioContext: class { constructor() { this.sampleRate = RATE; } createAnalyser() { return (analyser = new Analyser()); } } };
globalThis.AudioWorkletNode = class { constructor() { this.port = { postMessage: (m) => this.send(m) }; } };

const { Lipsync } = await import(pathToFileURL(join(folder, "wawa-lipsync/dist/wawa-lipsync.es.js")));
const modules = join(folder, "@met4citizen/headaudio/modules");
const { Processor } = await import(pathToFileURL(join(modules, "processor.mjs")));
const { HeadAudio } = await import(pathToFileURL(join(modules, "headaudio.mjs")));
const model = readFileSync(join(folder, "@met4citizen/headaudio/dist/model-en-mixed.bin"));
globalThis.fetch = async () => ({ ok: true, arrayBuffer: async () => model.buffer.slice(model.byteOffset, model.byteOffset + model.length) });

function wawa(sound) {
  const peer = new Lipsync(), frames = [];
  now = 0;
  for (let end = HOP; end <= sound.length; end += HOP) {
    now += 1000 / FPS;
    analyser.sound = sound; analyser.end = end;
    peer.processAudio();
    frames.push({ [peer.viseme]: 1 });
  }
  return frames;
}

async function headaudio(sound) {
  const node = new HeadAudio(null), worklet = { port: { postMessage: (data) => node._onmessage({ data }) } };
  const processor = new Processor({ sampleRate: RATE, speakerMeanHz: 150 }, worklet);
  node.send = (data) => processor._onmessage({ data });
  await node.loadModel("model");
  const frames = [];
  now = 0;
  for (let end = HOP; end <= sound.length; end += HOP) {
    now += 1000 / FPS;
    processor.process(sound.subarray(end - HOP, end));
    node.update(1000 / FPS);
    frames.push(Object.fromEntries(node.visemeNames.map((name, k) => [name, node.visemeMaxs[k] * node.easing(node.visemeAlphas[k])])));
  }
  return frames;
}

for (const file of files) {
  const bytes = readFileSync(file), sound = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  console.log(JSON.stringify({ file, "wawa-lipsync": wawa(sound), headaudio: await headaudio(sound) }));
}
