"""Which nodes the host gets; only ComfyUI imports this."""

import logging
from importlib import import_module
from typing import Any

from echomimic.apps.comfy import host, layouts, native_nodes, published_nodes

_log = logging.getLogger("echomimic")


def make_extension() -> Any:
    """The extension with our nodes, and those of the published page where the original pack is not installed."""
    latest: Any = import_module("comfy_api.latest")

    class EchoMimic(latest.ComfyExtension):  # type: ignore[misc]
        """The nodes of EchoMimic."""

        async def on_load(self) -> None:
            """Add the folders in which weights may lie, and say what replaces nodes that are gone."""
            host.add_weight_folders()
            for rule in layouts.RULES:
                await latest.ComfyAPI().node_replacement.register(_replacement(latest.io, rule))

        async def get_node_list(self) -> list[Any]:
            """Every node that may be registered here."""
            if not host.original_is_installed():
                return [*native_nodes.NODES, *published_nodes.NODES]
            _log.info("ComfyUI_EchoMimic is installed: Echo_LoadModel and Echo_Sampler stay its own")
            return list(native_nodes.NODES)

    return EchoMimic()


def _replacement(io: Any, rule: layouts.Rule) -> Any:
    """The host's form of a rule; it applies only where the old node is not installed."""
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
