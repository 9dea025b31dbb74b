"""EchoMimic as a custom node of ComfyUI: the code is in the package echomimic, which loads when the host asks."""

from typing import Any

WEB_DIRECTORY = "./web"
"""ComfyUI serves the page extensions in it."""


async def comfy_entrypoint() -> Any:
    """What ComfyUI calls to get the nodes."""
    from echomimic.apps.comfy import extension

    return extension()
