// @ts-check
// Files and settings that this browser keeps: of what is entered in this tab, and of each video that it asked for.

const DAYS = 2

/** @returns {Promise<IDBDatabase>} */
const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open("echomimic", 1)
  request.onupgradeneeded = () => request.result.createObjectStore("inputs")
  request.onsuccess = () => resolve(request.result)
  request.onerror = () => reject(request.error)
})

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} work
 * @returns {Promise<any>} null if the browser keeps nothing, as in private windows
 */
async function within(mode, work) {
  try {
    const database = await opened
    return await new Promise((resolve, reject) => {
      const request = work(database.transaction("inputs", mode).objectStore("inputs"))
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error)
    })
  } catch {
    return null
  }
}

/** @param {string} key */
export const recall = (key) => within("readonly", (store) => store.get(key))

/**
 * @param {string} key
 * @param {Record<string, any>} inputs
 */
export const keep = (key, inputs) => within("readwrite", (store) => store.put({ ...inputs, at: Date.now() }, key))

/** @param {string} key */
export const drop = (key) => within("readwrite", (store) => store.delete(key))

/** Delete what is older than two days. */
export async function sweep() {
  for (const key of (await within("readonly", (store) => store.getAllKeys())) || []) {
    const kept = await recall(key)
    if (kept && Date.now() - kept.at > DAYS * 864e5) await drop(key)
  }
}

/** A name for this tab that a reload keeps. */
export function tab() {
  const name = sessionStorage.getItem("echomimic-tab") || `tab-${crypto.getRandomValues(new Uint32Array(2)).join("")}`
  sessionStorage.setItem("echomimic-tab", name)
  return name
}
