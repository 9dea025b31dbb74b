// @ts-check
// Workflows of other releases of ComfyUI_EchoMimic store their values in other places: the server moves them by name
// before the page reads them, and a message lists what has no counterpart.
// @ts-ignore: served by ComfyUI
import { app } from "../../scripts/app.js"
// @ts-ignore: served by ComfyUI
import { api } from "../../scripts/api.js"

app.registerExtension({
  name: "echomimic.migrate",
  /** @param {any} workflow what the page is about to open; changed in place */
  async beforeConfigureGraph(workflow) {
    const body = JSON.stringify(workflow)
    if (!body.includes('"Echo_')) return
    const answer = await api.fetchApi("/echomimic/migrate", { method: "POST", body }).catch(() => null)
    const { workflow: moved, notes } = answer?.ok ? await answer.json() : {}
    if (!moved) return
    Object.assign(workflow, moved)
    const detail = ["Values of ComfyUI_EchoMimic were moved to their names.", ...notes].join("\n")
    app.extensionManager?.toast?.add({ severity: "warn", summary: "EchoMimic", detail, life: 60000 })
  },
})
