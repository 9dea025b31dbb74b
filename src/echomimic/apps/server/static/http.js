// @ts-check
// Requests to the server. Every failure is a Failure: one line for the reader, with the server's stable code.

import { word } from "./i18n.js"

const PATIENCE = 3000

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
 * @returns {Promise<any>} the answer's JSON; null if it has none
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

/** @param {string} path */
export const look = (path) => ask(path, { patience: PATIENCE, cache: "no-store" })

/**
 * @param {number} status
 * @param {string} text
 */
function read(status, text) {
  let said = null
  try {
    said = JSON.parse(text)
  } catch {
    // an answer without a body, or one that is not ours
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
