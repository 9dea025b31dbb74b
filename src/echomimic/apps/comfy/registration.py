"""Which nodes the host gets; only ComfyUI imports this."""

import logging
from importlib import import_module
from typing import Any

from echomimic.apps.comfy import host, native_nodes, published_nodes

_log = logging.getLogger("echomimic")


def make_extension() -> Any:
    """The extension with our nodes, and those of the published page where the original pack is not installed."""
    latest: Any = import_module("comfy_api.latest")

    class EchoMimic(latest.ComfyExtension):  # type: ignore[misc]
        """The nodes of EchoMimic."""

        async def on_load(self) -> None:
            """Add the folders in which weights may lie."""
            host.add_weight_folders()

        async def get_node_list(self) -> list[Any]:
            """Every node that may be registered here."""
            if not host.original_is_installed():
                return [*native_nodes.NODES, *published_nodes.NODES]
            _log.info("ComfyUI_EchoMimic is installed: Echo_LoadModel and Echo_Sampler stay its own")
            return list(native_nodes.NODES)

    return EchoMimic()
