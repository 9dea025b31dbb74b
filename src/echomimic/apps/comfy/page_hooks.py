"""Migration inside ComfyUI: of a workflow when its page opens it, and of a prompt when the API gets it."""

import logging
from importlib import import_module
from typing import Any

from echomimic.apps.comfy.migrate import Migration, migrate
from echomimic.errors import InputError

ROUTE = "/echomimic/migrate"
"""The page extension `web/migrate.js` sends workflows here."""
_PAGE_NODES = ("Echo_LoadModel", "Echo_Sampler")
_log = logging.getLogger("echomimic")


def add_hooks(page_nodes: list[Any]) -> None:
    """Add the route and the handler of prompts; `page_nodes` are registered at start if no other pack has their names.

    The pack's folder may be there and fail to import, which shows only after every pack was loaded.
    """
    server = import_module("server").PromptServer.instance

    async def on_startup(app: Any) -> None:
        mapping = import_module("nodes").NODE_CLASS_MAPPINGS
        if not any(name in mapping for name in _PAGE_NODES):
            mapping.update(zip(_PAGE_NODES, page_nodes, strict=True))
            _log.warning("the pack ComfyUI_EchoMimic failed to import: its workflows run on the nodes of echomimic")

    async def on_page(request: Any) -> Any:
        migration = _migrated(await request.json(), page_nodes)
        answer = {"workflow": migration.document, "notes": migration.notes} if migration else {"workflow": None}
        return import_module("aiohttp.web").json_response(answer)

    def on_prompt(data: dict[str, Any]) -> dict[str, Any]:
        migration = _migrated(data.get("prompt"), page_nodes)
        for line in migration.notes if migration else []:
            _log.warning("%s", line)
        return {**data, "prompt": migration.document} if migration else data

    server.app.on_startup.append(on_startup)
    server.routes.post(ROUTE)(on_page)
    server.add_on_prompt_handler(on_prompt)


def _migrated(document: Any, page_nodes: list[Any]) -> Migration | None:
    """The migration of a document; None if there is nothing to do, or another pack has the names of the nodes."""
    mapping = import_module("nodes").NODE_CLASS_MAPPINGS
    if mapping.get(_PAGE_NODES[1]) is not page_nodes[1]:
        return None
    try:
        migration = migrate(document)
    except InputError:
        return None
    return migration if migration.changed else None
