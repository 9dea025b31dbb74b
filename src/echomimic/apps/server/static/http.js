// @ts-check
// Requests to the server. Every failure is a Failure: one line for the reader, with the server's stable code.

import { word } from "./i18n.js"

const PATIENCE = 3000
export const FINAL = ["succeeded", "failed", "cancelled"]

export class Failure extends Error {
  /**
   * @param {string} message
   * @param {string} code
   * @param {number} status 0 if the server did not answer
   */
  constructor(message, code = "", status = 0) {
    super(message)
    this.code = code
    this.status = status
  }
}

const offline = () => new Failure(word("offline"), "offline")

/**
 * @param {string} path
 * @param {RequestInit & {patience?: number, json?: unknown}} how
 * @returns {Promise<any>} the answer's JSON, or else its text; null if it is empty
 */
export async function ask(path, { patience, json, ...how } = {}) {
  if (json !== undefined) {
    how = { method: "POST", body: JSON.stringify(json), headers: { "Content-Type": "application/json" }, ...how }
  }
  if (patience) how.signal = AbortSignal.timeout(patience)
  let answer
  try {
    answer = await fetch(path, how)
  } catch {
    throw offline()
  }
  return read(answer.status, await answer.text().catch(() => ""))
}

/**
 * A file of the example.
 * @param {"portrait" | "voice"} kind
 */
export async function exampleFile(kind) {
  const answer = await fetch(`/ui/example/${kind}`).catch(() => {
    throw offline()
  })
  if (!answer.ok) read(answer.status, await answer.text())
  const name = { portrait: "example.png", voice: "example.flac" }[kind]
  return new File([await answer.blob()], name, { type: answer.headers.get("content-type") || "" })
}

/** @param {string} path */
export const look = (path) => ask(path, { patience: PATIENCE, cache: "no-store" })

/**
 * @param {number} status
 * @param {string} text
 */
function read(status, text) {
  /** @type {any} */
  let said = text || null
  try {
    said = JSON.parse(text)
  } catch {
    // no JSON: an SDP answer, none at all, or an error that is not ours
  }
  if (status >= 200 && status < 300) return said
  throw new Failure(said?.detail || `HTTP ${status}`, said?.code, status)
}

/**
 * Send a form and report the fraction of it that is sent.
 * @param {string} path
 * @param {FormData} form
 * @param {(fraction: number) => void} [progress]
 * @param {AbortSignal} [signal]
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export function upload(path, form, progress, signal, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open("POST", path)
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
    request.upload.onprogress = (event) => event.lengthComputable && progress?.(event.loaded / event.total)
    request.onload = () => {
      try {
        resolve(read(request.status, request.responseText))
      } catch (failure) {
        reject(failure)
      }
    }
    request.onerror = () => reject(offline())
    request.onabort = () => reject(new Failure("", "aborted"))
    signal?.addEventListener("abort", () => request.abort())
    request.send(form)
  })
}

/**
 * Follow a job by its server-sent events until it has ended.
 * @param {any} job
 * @param {{update: (job: any) => void, preview?: (image: string) => void, lost?: () => void}} hooks `lost` is called if
 * the stream breaks; without it the job is asked for again until the server answers
 * @returns {() => void} ends it
 */
export function followJob(job, { update, preview, lost }) {
  const events = new EventSource(`${job.links.self}/events`)
  let now = job
  const take = (/** @type {any} */ next) => {
    now = next
    if (FINAL.includes(now.state)) events.close()
    update(now)
  }
  take(job)
  events.addEventListener("job", (event) => take(JSON.parse(event.data)))
  events.addEventListener("progress", (event) => take({ ...now, progress: JSON.parse(event.data) }))
  events.addEventListener("preview", (event) => preview?.(JSON.parse(event.data).image))
  events.onerror = () => {
    events.close()
    if (lost) return lost()
    const again = async () => {
      try {
        followJob(await look(now.links.self), { update, preview })
      } catch (error) {
        if (/** @type {Failure} */ (error).status) return update({ ...now, state: "cancelled" })
        setTimeout(again, 1000)
      }
    }
    again()
  }
  return () => events.close()
}
