"""The portrait of an editing session in one crop, with a renderer that is dropped while it is not used."""

import threading
import time
from collections.abc import Callable
from functools import cached_property

from echomimic.landmarks.face import Face
from echomimic.mesh.engine import MeshEngine, PreparedPortrait
from echomimic.mesh.renderer import Renderer
from echomimic.mesh.rig import Rig
from echomimic.notes import collect_notes
from echomimic.options import Options
from echomimic.types import Portrait

_BYTES_PER_PIXEL = 32
"""Memory of a renderer for each pixel of its frames."""


class PortraitView:
    """A portrait in the crop that `options` ask for. `read` reads its file, at first and after each `release`.

    What is kept in between is small: the face, the crop, and the size of the picture.
    """

    def __init__(
        self, portrait: Portrait, options: Options, read: Callable[[], Portrait], face: Face | None = None
    ) -> None:
        self._read, self._options = read, options
        self._lock = threading.Lock()
        self._prepared: PreparedPortrait | None = MeshEngine().prepare_portrait(portrait, options, face)
        self._scene: Renderer | None = None
        self.face, self.crop = self._prepared.face, self._prepared.crop
        self.drawn = time.monotonic()
        """When a frame was drawn last."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.crop.width, self.crop.height

    @property
    def portrait(self) -> Portrait:
        """The picture, turned upright."""
        with self._lock:
            return self._prepare().portrait

    @property
    def scene(self) -> Renderer:
        """The renderer; the picture itself is dropped once it is made."""
        with self._lock:
            self.drawn = time.monotonic()
            if self._scene is None:
                self._scene = self._prepare().scene
                self._prepared = None
            return self._scene

    @cached_property
    def rig(self) -> Rig:
        """The rig of the face, in pixels of a frame; it stays."""
        with self._lock:
            return self._scene.rig if self._scene else self._prepare().rig

    def _prepare(self) -> PreparedPortrait:
        if self._prepared is not None:
            return self._prepared
        with collect_notes():  # they were made at the first time
            return MeshEngine().prepare_portrait(self._read(), self._options)

    @property
    def held_bytes(self) -> int:
        """Estimated memory of the renderer, or of the picture before it is made; 0 after `release`."""
        prepared = self._prepared
        if self._scene is None and prepared is not None:
            return int(prepared.portrait.pixels.nbytes)
        return 0 if self._scene is None else _BYTES_PER_PIXEL * self.crop.width * self.crop.height

    def release(self) -> None:
        """Drop the renderer and the picture."""
        with self._lock:
            self._scene = self._prepared = None
