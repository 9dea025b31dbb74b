"""The clips of a prepared data set: random access to frames, sound and track, with checks of their files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from echomimic.diffusion.vae import FACTOR
from echomimic.diffusion.whisper import RATE
from echomimic.errors import InputError, VideoError
from echomimic.media import read_speech, sound_blocks
from echomimic.media.source import open_media, video_stream
from echomimic.media.video import upright_pixels
from echomimic.motion import load_motion
from echomimic.motion.schema import without_nan
from echomimic.train.diffusion.manifest import SUFFIXES, Row, RowFiles, check_files, read_manifest, row_files
from echomimic.train.diffusion.settings import TrainSettings
from echomimic.types import Floats, LandmarkTrack, Motion, Picture

_KEY_FRAMES = 24
"""Number of frames up to which decoding further is cheaper than another seek."""
_KEPT = 32
"""Number of clips of which a process keeps the sound and the track in memory."""

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A cache of the most recent results of a function, which worker processes start empty."""

    def __init__(self, make: Callable[..., Value], kept: int) -> None:
        self._make, self._kept, self._values = make, kept, dict[tuple[int, ...], Value]()

    def __call__(self, *key: int) -> Value:
        """The result for these arguments."""
        value = self._values.pop(key) if key in self._values else self._make(*key)
        self._values[key] = value
        while len(self._values) > self._kept:
            del self._values[next(iter(self._values))]
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_values": {}}


class Clips:
    """The clips of one split of a data set, in the order of the manifest."""

    def __init__(self, folder: Path, rows: Sequence[Row]) -> None:
        self.folder, self.rows = folder, list(rows)
        self._checked: set[int] = set()
        self._sound = Recent(self._read_sound, _KEPT)
        self._track = Recent(self._read_track, _KEPT)

    def __len__(self) -> int:
        return len(self.rows)

    def files(self, index: int) -> RowFiles:
        """Paths of a clip's files. Raises InputError if a file is not the one that was prepared, once a process."""
        row = self.rows[index]
        if index in self._checked:
            return row_files(self.folder, row)
        files = check_files(self.folder, row)
        self._checked.add(index)
        return files

    def frames(self, index: int, numbers: Sequence[int]) -> Picture:
        """Frames of a clip by number, in the given order: (n, H, W, 3) uint8."""
        return read_frames(self.files(index).clip, numbers, self.rows[index].fps)

    def sound(self, index: int) -> Floats:
        """The voice of a clip (N,), mono at 16 kHz."""
        return self._sound(index)

    def track(self, index: int) -> Motion:
        """The motion of a clip, one entry a frame."""
        return self._track(index)

    def _read_sound(self, index: int) -> Floats:
        return np.concatenate([*sound_blocks(read_speech(self.files(index).sound), RATE)])

    def _read_track(self, index: int) -> Motion:
        row, path = self.rows[index], self.files(index).track
        track = load_motion(path)
        if len(track) != row.frames:
            raise InputError(
                f"{path} has {len(track)} frames and clip {row.id} has {row.frames}; expected equal: prepare it again"
            )
        return without_nan(track) if isinstance(track, LandmarkTrack) else track


def open_clips(folder: Path, settings: TrainSettings) -> tuple[Clips, Clips]:
    """Clips for training and for validation. Raises InputError in one line for a data set that does not fit.

    It must be of one kind and size, its clips long enough, and every file must exist; checksums are compared when a
    clip is first read.
    """
    rows = read_manifest(folder, "half" if settings.model.variant == "hands" else "face")
    check_sizes(rows, settings, folder)
    long_enough = [row for row in rows if row.frames > settings.data.frames]
    for row in rows:
        check_presence(folder, row)
    train, val = ([row for row in long_enough if row.split == split] for split in ("train", "val"))
    if not train:
        raise InputError(
            f"{folder} has no training clip of more than {settings.data.frames} frames; expected at least one: "
            "lower data.frames, or prepare longer videos"
        )
    return Clips(folder, train), Clips(folder, val)


def check_sizes(rows: Sequence[Row], settings: TrainSettings, folder: Path) -> None:
    """Raise InputError unless all clips have the size that the settings ask for; of half bodies the longer side."""
    side = settings.data.size
    for row in rows:
        if max(row.size) != side or any(length % FACTOR for length in row.size):
            found = " x ".join(map(str, row.size))
            raise InputError(
                f"clip {row.id} of {folder} has {found} pixels; expected a longer side of {side}: set data.size, or "
                f"prepare the data with --size {side}"
            )
        if row.size != rows[0].size and row.kind == "face":
            raise InputError(
                f"{folder} has clips of {rows[0].size} and of {row.size} pixels; expected one size: prepare each into "
                "a folder of its own"
            )


def check_presence(folder: Path, row: Row) -> None:
    """Raise InputError if a file of a clip is missing."""
    paths = [folder / row.shard] if row.shard else [folder / getattr(row, name) for name in SUFFIXES]
    gone = next((path for path in paths if not path.is_file()), None)
    if gone is not None:
        raise InputError(
            f"{gone} of clip {row.id} is missing; expected the file of the manifest: prepare the data again"
        )


def read_frames(path: Path, numbers: Sequence[int], fps: float) -> Picture:
    """Frames of a video of constant rate by number, in the given order: (n, H, W, 3) uint8. Raises VideoError."""
    found: dict[int, Picture] = {}
    with open_media(path, "a clip of a training set", VideoError) as container:
        stream = video_stream(container)
        if stream is None:
            raise VideoError(f"{path} has no video; expected a clip of a training set: prepare the data again")
        start, base = stream.start_time or 0, float(stream.time_base or 1 / fps)
        for first, last in _spans(numbers):
            container.seek(start + round(first / fps / base), stream=stream)
            for frame in container.decode(stream):
                number = round(((frame.pts or 0) - start) * base * fps)
                if first <= number <= last:
                    found[number] = upright_pixels(frame, "rgb24")
                if number >= last:
                    break
    missing = next((number for number in numbers if number not in found), None)
    if missing is not None:
        raise VideoError(f"{path} has no frame {missing}; expected the clip of the manifest: prepare the data again")
    return np.stack([found[number] for number in numbers])


def _spans(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last frame of each range that is decoded without a seek."""
    wanted = sorted(set(numbers))
    first = last = wanted[0]
    for number in wanted[1:]:
        if number > last + _KEY_FRAMES:
            yield first, last
            first = number
        last = number
    yield first, last
