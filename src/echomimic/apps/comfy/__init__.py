"""The nodes of ComfyUI: thin wrappers around `echomimic.api`. The host is imported only when `extension` is called."""

import logging
from importlib import import_module
from typing import Any

_log = logging.getLogger("echomimic")


def extension() -> Any:
    """The extension that `comfy_entrypoint` returns to ComfyUI; needs ComfyUI's own packages.

    It has our nodes and, unless the original pack is installed, those of the published workflow.
    """
    from echomimic.apps.comfy import host, legacy_nodes, motion_nodes, nodes, page_hooks

    latest: Any = import_module("comfy_api.latest")

    class EchoMimic(latest.ComfyExtension):  # type: ignore[misc]
        """The nodes of EchoMimic."""

        async def on_load(self) -> None:
            """Add the folders of weights, and the migration of old workflows."""
            host.add_weight_folders()
            page_hooks.add_hooks(legacy_nodes.NODES)

        async def get_node_list(self) -> list[Any]:
            ours = [*nodes.NODES, *motion_nodes.NODES]
            if not host.original_is_installed():
                return [*ours, *legacy_nodes.NODES]
            _log.info("ComfyUI_EchoMimic is installed and keeps the names Echo_LoadModel and Echo_Sampler")
            return ours

    return EchoMimic()
