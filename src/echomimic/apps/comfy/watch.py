"""The host's progress bar with previews, and its stop button: one `Previewing` for every engine."""

import math
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from echomimic.apps.comfy.host import is_out_of_memory, stop_if_asked
from echomimic.errors import DeviceError
from echomimic.notes import note
from echomimic.types import Picture

PREVIEW_SECONDS = 0.5
"""The least time between two previews."""
PREVIEW_REST = 10
"""After a preview that took time to make, at least this many times as long none is made."""
PREVIEW_SIDE = 512


class Watch:
    """Progress as the host shows it. Every call looks at the stop button first, and raises what the host raises."""

    def __init__(self) -> None:
        self._bar = import_module("comfy.utils").ProgressBar(1)
        self._count = (0, 1)
        self._picture: Picture | None = None
        self._due = self._makes = 0.0

    def __call__(self, done: int, total: int) -> None:
        """So much is done."""
        stop_if_asked()
        self._count = done, total
        self._bar.update_absolute(done, total, self._preview())

    def show(self, frame: Picture) -> None:
        """Have this finished frame for the next preview."""
        self._picture = frame

    def preview(self, make: Callable[[], Picture]) -> None:
        """Show what `make` gives, at once, where a preview is due. Without memory for it there are none any more."""
        stop_if_asked()
        began = time.monotonic()
        if began < max(self._due, self._makes):
            return
        try:
            self._picture = make()
        except Exception as error:
            if not isinstance(error, DeviceError) and not is_out_of_memory(error):
                raise
            self._makes = math.inf
            note("previews_stopped", "no previews while denoising: the device has no memory left for them")
            return
        self._makes = time.monotonic() + PREVIEW_REST * (time.monotonic() - began)
        self._bar.update_absolute(*self._count, self._preview())

    def _preview(self) -> tuple[str, Any, int] | None:
        """The picture in the host's form where one is due; each is sent once."""
        if self._picture is None or time.monotonic() < self._due:
            return None
        from PIL import Image

        picture, self._picture = self._picture, None
        self._due = time.monotonic() + PREVIEW_SECONDS
        return "JPEG", Image.fromarray(picture), PREVIEW_SIDE
