// @ts-check
// A live session: the microphone goes to the server by WebRTC, the portrait that speaks comes back.

import { $, askForKey, dropZone, errorLine, make, takePasted } from "./dom.js"
import { Failure, ask, exampleFile, upload } from "./http.js"
import { language, translatePage, word } from "./i18n.js"

const REFRESH = 1000
const GATHERING = 2000

/** @type {{id: string, links: Record<string, string>, delay: number} | null} */
let session = null
/** @type {RTCPeerConnection | null} */
let peer = null
/** @type {MediaStream | null} */
let microphone = null
/** @type {File | null} */
let portrait = null
let timer = 0

/** @param {any} [line] an element, or nothing */
const say = (line) => $("status").replaceChildren(...(line ? [line] : []))

/** @param {File} file */
function choose(file) {
  portrait = file
  $("portrait-name").textContent = file.name
}

/** @returns {Promise<MediaStream>} */
async function listen() {
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    })
  } catch {
    throw new Failure(word("live_no_microphone"), "no_microphone")
  }
}

async function start() {
  say()
  $("start").disabled = $("example").disabled = true
  try {
    if (!portrait) throw new Failure(word("live_portrait"), "missing_field")
    microphone = await listen()
    const form = new FormData()
    form.append("overflow", "drop")
    form.append("portrait", portrait)
    say(make("p", {}, word("live_connecting")))
    session = await upload("/v1/live", form)
    await connect()
    say()
    $("stop").disabled = false
    timer = window.setInterval(show, REFRESH)
  } catch (error) {
    await stop()
    say(errorLine(error.code === "no_such_address" ? new Failure(word("live_off"), error.code) : error))
  }
}

async function connect() {
  if (!session || !microphone) return
  peer = new RTCPeerConnection()
  const media = new MediaStream()
  peer.ontrack = (event) => {
    media.addTrack(event.track)
    $("face").srcObject = media
  }
  peer.onconnectionstatechange = () => {
    if (peer?.connectionState === "failed") stop().then(() => say(errorLine(new Failure(word("live_lost"), "gone"))))
  }
  peer.addTransceiver("video", { direction: "recvonly" })
  for (const track of microphone.getTracks()) peer.addTransceiver(track, { direction: "sendrecv" })
  await peer.setLocalDescription()
  await gathered(peer)
  const offer = { headers: { "Content-Type": "application/sdp" }, body: peer.localDescription?.sdp }
  const sdp = await ask(session.links.whep, { method: "POST", ...offer })
  await peer.setRemoteDescription({ type: "answer", sdp })
}

/**
 * Wait until the addresses of this browser are known.
 * @param {RTCPeerConnection} connection
 */
function gathered(connection) {
  return new Promise((resolve) => {
    if (connection.iceGatheringState === "complete") return resolve(null)
    connection.onicegatheringstatechange = () => connection.iceGatheringState === "complete" && resolve(null)
    setTimeout(resolve, GATHERING)
  })
}

async function show() {
  if (!session) return
  try {
    const { fps, delay, statistics, state } = await ask(session.links.self)
    const values = { fps, delay, held: statistics.held, frames: statistics.frames }
    $("numbers").textContent = state === "connected" ? word("live_numbers", values) : ""
  } catch (error) {
    await stop()
    say(errorLine(error))
  }
}

async function stop() {
  clearInterval(timer)
  const ended = session
  session = null
  peer?.close()
  peer = null
  microphone?.getTracks().forEach((track) => track.stop())
  microphone = null
  $("face").srcObject = null
  $("numbers").textContent = ""
  $("start").disabled = $("example").disabled = false
  $("stop").disabled = true
  if (ended) await ask(ended.links.self, { method: "DELETE", keepalive: true }).catch(() => null)
}

async function example() {
  try {
    choose(await exampleFile("portrait"))
  } catch (error) {
    return error.status === 401 ? askForKey(error) : say(errorLine(error))
  }
  await start()
}

translatePage()
document.title = `EchoMimic · ${word("live_title")}`
$("home").href = `/?lang=${language}`
dropZone($("portrait"), choose)
takePasted(choose)
$("start").onclick = start
$("stop").onclick = stop
$("example").onclick = example
$("echo").onchange = () => ($("face").muted = !$("echo").checked)
addEventListener("pagehide", () => void stop())
