"""One person at the motion editor: a portrait, a voice, and what is edited: the face, and the hands once asked for."""

import threading
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from echomimic import motion
from echomimic.apps.web.face_motion import FaceMotion
from echomimic.apps.web.hands_motion import HandsMotion
from echomimic.errors import FaceError
from echomimic.media import read_picture, read_speech, sound_blocks
from echomimic.options import Options, make_options
from echomimic.presets import find_preset
from echomimic.types import Floats, LandmarkTrack

Kind = Literal["face", "hands"]
Edited = FaceMotion | HandsMotion

_SHOWN = 640
"""The longer side of the frame at the cursor: enough to judge lips by, and quick."""
_RATE = 24_000
_PEAKS = 100
"""Points of the wave form a second."""


@dataclass
class Session:
    """The state of an editor."""

    portrait_file: Path
    voice_file: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    """Options that were set before the editor was opened."""
    id: str = field(default_factory=lambda: uuid4().hex)
    kind: Kind = "face"
    """What is looked at first: what was loaded last."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.portrait = read_picture(self.portrait_file)
        self.speech = read_speech(self.voice_file)
        longer = max(self.portrait.pixels.shape[:2])
        size = {} if self.given.get("size") or longer <= _SHOWN else {"size": _SHOWN}
        self.options: Options = make_options({**self.given, **size})
        self.face = FaceMotion(self.portrait, self.speech, self.options)
        self._hands: HandsMotion | FaceError | None = None

    @property
    def hands(self) -> HandsMotion:
        """Made when first asked for, which takes a while; FaceError where the portrait has nothing to hang them on."""
        with self.lock:
            if self._hands is None:
                self._hands = self._found_hands()
        if isinstance(self._hands, FaceError):
            raise FaceError(str(self._hands))
        return self._hands

    def _found_hands(self) -> HandsMotion | FaceError:
        options = make_options(self.given, find_preset("v2").defaults)
        try:
            return HandsMotion(self.portrait, self.speech, options, self.face, self.options)
        except FaceError as error:
            return error

    def of(self, kind: Kind) -> Edited:
        """What is edited, by its kind."""
        return self.face if kind == "face" else self.hands

    @property
    def lines(self) -> dict[Kind, tuple[str, ...]]:
        """Every edit, by what it changes."""
        hands = self._hands.history.lines if isinstance(self._hands, HandsMotion) else ()
        return {"face": self.face.history.lines, "hands": hands}

    @property
    def revision(self) -> int:
        """Grows with every change, of the face or of the hands."""
        hands = self._hands.history.revision if isinstance(self._hands, HandsMotion) else 0
        return self.face.history.revision + hands

    def edit(self, lines: Mapping[Kind, Sequence[str]]) -> None:
        """Apply edits, by what they change."""
        for kind, each in lines.items():
            for line in each:
                self.of(kind).history.edit([line])

    def load(self, path: Path) -> Kind:
        """Go on with a saved track, of a face or of hands; gives which of them it was."""
        loaded, lines = motion.load_motion(path), motion.load_edits(path)
        if isinstance(loaded, LandmarkTrack):
            self.face.load(loaded, lines)
        else:
            self.hands.load(loaded, lines)
        self.kind = "face" if isinstance(loaded, LandmarkTrack) else "hands"
        return self.kind

    @property
    def frames(self) -> int:
        """How long the face's track is: by that goes how much memory the session takes."""
        return len(self.face.heard)

    @cached_property
    def peaks(self) -> list[float]:
        """How loud the voice is, `_PEAKS` times a second, 0..1."""
        loud = np.concatenate([*_loudest(sound_blocks(self.speech, _RATE), _RATE // _PEAKS)])
        return [round(float(each), 3) for each in loud / max(float(loud.max()), 1e-6)]

    def write_voice(self, path: Path) -> Path:
        """The voice as a WAV that every browser plays; there at once, for a browser asks again while it is written."""
        part = path.with_name(f"{uuid4().hex}.part")
        with wave.open(str(part), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_RATE)
            for block in sound_blocks(self.speech, _RATE):
                file.writeframes((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
        return part.replace(path)


def _loudest(blocks: Iterable[Floats], step: int) -> Iterator[Floats]:
    """How loud each `step` samples are, block by block: the sound of hours does not fit into memory at once."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        sound = np.concatenate([rest, np.abs(block)])
        whole = len(sound) // step * step
        yield sound[:whole].reshape(-1, step).max(axis=1)
        rest = sound[whole:]
    yield rest.max(initial=0.0, keepdims=True)
