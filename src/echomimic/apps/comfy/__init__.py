"""The nodes of ComfyUI: thin wrappers around `echomimic.api`. The host is imported only when `extension` is called."""

import logging
from importlib import import_module
from typing import Any

_log = logging.getLogger("echomimic")


def extension() -> Any:
    """The extension that `comfy_entrypoint` returns to ComfyUI; needs ComfyUI's own packages.

    It has our nodes and, unless the original pack is installed, those of the published workflow.
    """
    from echomimic.apps.comfy import host, legacy_nodes, legacy_schema, nodes

    latest: Any = import_module("comfy_api.latest")

    class EchoMimic(latest.ComfyExtension):  # type: ignore[misc]
        """The nodes of EchoMimic."""

        async def on_load(self) -> None:
            """Add the folders of weights, and register replacements of nodes that no longer exist."""
            host.add_weight_folders()
            for rule in legacy_schema.REPLACEMENTS:
                await latest.ComfyAPI().node_replacement.register(_replacement(latest.io, rule))

        async def get_node_list(self) -> list[Any]:
            if not host.original_is_installed():
                return [*nodes.NODES, *legacy_nodes.NODES]
            _log.info("ComfyUI_EchoMimic is installed and keeps the names Echo_LoadModel and Echo_Sampler")
            return list(nodes.NODES)

    return EchoMimic()


def _replacement(io: Any, rule: Any) -> Any:
    """The host's form of a `legacy_schema.Replacement`; it is applied only if the old node is not installed."""
    return io.NodeReplace(
        new_node_id=rule.new,
        old_node_id=rule.old,
        old_widget_ids=list(rule.widgets),
        input_mapping=[
            *({"new_id": new, "old_id": old} for new, old in rule.inputs),
            *({"new_id": name, "set_value": value} for name, value in rule.values),
        ],
        output_mapping=[{"new_idx": new, "old_idx": old} for new, old in rule.outputs],
    )
