"""The nodes of ComfyUI: a skin over `api`. Nothing here imports the host until `extension` is asked for."""

from typing import Any


def extension() -> Any:
    """The extension that ComfyUI's `comfy_entrypoint` hands over; needs ComfyUI's own packages."""
    from echomimic.apps.comfy.registration import make_extension

    return make_extension()
