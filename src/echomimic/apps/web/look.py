"""What the page shows before anything runs: the face, the crop, how long the voice is."""

import threading
from base64 import b64encode
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echomimic.landmarks.crop import Crop, frame_portrait
from echomimic.landmarks.face import Face, pick_face
from echomimic.notes import collect_notes
from echomimic.options import Options
from echomimic.types import Picture, Portrait

_SHOWN = 480
_DIM = 0.4
_KEPT = 4
_GREEN = (46, 204, 113)


@dataclass(frozen=True)
class Look:
    """A portrait as the video will frame it: `picture` is a JPEG with what is cut off darkened."""

    picture: bytes
    framing: Crop
    portrait: Portrait
    notes: tuple[str, ...]


class Looker:
    """Looks at portraits, and remembers the last few, for the options change more often than the picture."""

    def __init__(self) -> None:
        self._portraits: OrderedDict[Path, Portrait] = OrderedDict()
        self._faces: dict[tuple[Path, object], tuple[Face, tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> Portrait:
        """The portrait in a file, read once."""
        from echomimic.media import read_picture

        portrait = self._portraits.get(path)
        if portrait is None:  # read outside of the lock: who has another picture need not wait
            portrait = read_picture(path)
            with self._lock:
                self._portraits[path] = portrait
                while len(self._portraits) > _KEPT:
                    old, _ = self._portraits.popitem(last=False)
                    self._faces = {key: face for key, face in self._faces.items() if key[0] != old}
        return portrait

    def look(self, path: Path, options: Options) -> Look:
        """The face and the crop of the portrait in a file. Raises PictureError and FaceError."""
        portrait = self.read(path)
        key = (path, (options.face, options.face_box))
        found = self._faces.get(key)
        if found is None:
            with collect_notes() as notes:
                found = pick_face(portrait, options), tuple(notes)
            with self._lock:
                if path in self._portraits:
                    self._faces[key] = found
        face, said = found
        framing = frame_portrait(portrait, face, options)
        return Look(to_jpeg(_marked(portrait, face, framing), _SHOWN), framing, portrait, said)


def _marked(portrait: Portrait, face: Face, framing: Crop) -> Picture:
    """The portrait, dimmed outside of the framing, with a box round the face."""
    import cv2

    shown = (portrait.pixels * _DIM).astype(np.uint8)
    top, left = max(0, framing.top), max(0, framing.left)
    inside = np.s_[top : framing.top + framing.source_height, left : framing.left + framing.source_width]
    shown[inside] = portrait.pixels[inside]
    x, y, w, h = (round(number) for number in face.box)
    line = max(2, round(max(shown.shape) / 200))
    return np.asarray(cv2.rectangle(shown, (x, y), (x + w, y + h), _GREEN, line), np.uint8)


def to_jpeg(picture: Picture, longest: int | None = None, quality: int = 85) -> bytes:
    """A picture as a JPEG, no side longer than `longest`."""
    import cv2

    scale = 1.0 if longest is None else min(1.0, longest / max(picture.shape[:2]))
    if scale < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    good, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert good
    return data.tobytes()


def to_data_url(jpeg: bytes) -> str:
    """A JPEG as an address that holds the picture itself."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
