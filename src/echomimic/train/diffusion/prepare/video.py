"""Open a video for preparation: its frames on an even grid, its sound as samples, its pieces between cuts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.errors import InputError
from echomimic.media import Video, read_speech, read_video, sound_blocks
from echomimic.media.source import open_media
from echomimic.media.video import ACCEPTED
from echomimic.mesh.speech_to_face import SAMPLE_RATE, SpeechFeatures, analyze_speech
from echomimic.signals import runs
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.types import Floats, Picture


class DroppedError(InputError):
    """A video or a piece of it is dropped for one of `REASONS`; `detail` has the measured value."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Piece(Video):
    """A part of the video `source` from `first` seconds on, as `count` frames on an even grid.

    Each frame is the source's frame that is nearest in time, so a frame may repeat or be left out.
    """

    source: Video
    first: float

    @classmethod
    def of(cls, source: Video, fps: float, first: float, count: int) -> "Piece":
        return cls(source.path, source.width, source.height, fps, count / fps, count, 0.0, source, first)

    def frames(self, start: float = 0.0) -> Iterator[tuple[float, Picture]]:
        skipped = int(np.ceil(start * self.fps - 1e-6))
        wanted = self.first + np.arange(skipped, self.count) / self.fps
        flow = nearest_frames(self.source.frames(max(0.0, self.first - 1 / self.source.fps)), wanted)
        for number, pixels in enumerate(flow, skipped):
            yield number / self.fps, pixels


def nearest_frames(frames: Iterator[tuple[float, Picture]], wanted: Floats) -> Iterator[Picture]:
    """For each time of `wanted` (N,), ascending, the frame whose time stamp is nearest."""
    before: tuple[float, Picture] | None = None
    place = 0
    for now, pixels in frames:
        while place < len(wanted) and wanted[place] <= now:
            earlier = before is not None and wanted[place] - before[0] < now - wanted[place]
            yield before[1] if before is not None and earlier else pixels
            place += 1
        if place == len(wanted):
            return
        before = (now, pixels)
    for _ in range(place, len(wanted)):
        if before is not None:
            yield before[1]


@dataclass(frozen=True)
class OpenedVideo:
    """An opened video: `samples` (n,) of 16 kHz mono sound from the moment at which the file starts to play."""

    video: Video
    samples: Floats
    speech: SpeechFeatures

    def piece(self, fps: float, first: int, count: int) -> Piece:
        """Frames `first` to `first + count` of the grid at `fps`."""
        return Piece.of(self.video, fps, self.video.start + first / fps, count)

    def cut_sound(self, start: float, seconds: float) -> Floats:
        """Samples from `start` on, with silence where the sound has not begun or has ended."""
        first, count = round(start * SAMPLE_RATE), round(seconds * SAMPLE_RATE)
        known = self.samples[max(0, first) : max(0, first + count)]
        lead = min(count, max(0, -first))
        return np.pad(known, (lead, count - lead - len(known)))


def open_video(path: Path, settings: PrepareSettings) -> OpenedVideo:
    """Open a video and read its sound. Raises DroppedError if it cannot be used at all."""
    try:
        video = read_video(path)
    except InputError as error:
        raise DroppedError("unreadable", str(error)) from None
    if video.height < settings.least_lines:
        raise DroppedError("low_resolution", f"{video.height} lines, at least {settings.least_lines} are needed")
    if video.duration < settings.shortest:
        raise DroppedError("short", f"{video.duration:.2f} s")
    try:
        speech = read_speech(path)
        if speech.silent:
            raise DroppedError("no_sound", "the sound is silent")
        samples = np.concatenate(list(sound_blocks(speech, SAMPLE_RATE)))
    except DroppedError:
        raise
    except InputError as error:
        raise DroppedError("no_sound", str(error)) from None
    return OpenedVideo(video, samples, analyze_speech([samples]))


def stated_seconds(path: Path) -> float:
    """Length of a video as its header states it; 0 if it cannot be read."""
    try:
        with open_media(path, ACCEPTED, InputError) as container:
            return (container.duration or 0) / 1e6
    except InputError:
        return 0.0


_SMALL = (64, 36)
"""Width and height of the pictures that are compared."""
_NEAR = 12
"""Number of frames on each side whose median change is the reference."""
_EQUAL = 0.01
"""Mean change of luma below which a frame counts as a repetition: the noise of a still face is larger."""


@dataclass(frozen=True)
class Span:
    """A piece of a video: `count` frames from frame `first` of the grid on; `dropped` if it cannot be used."""

    first: int
    count: int
    dropped: str | None = None
    detail: str = ""


def luma_changes(frames: Iterable[Picture]) -> Floats:
    """Mean absolute change of luma (T,) of small pictures from frame to frame; 0 for the first."""
    changes: list[float] = []
    before: Floats | None = None
    for pixels in frames:
        small = cv2.resize(pixels, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
        luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
        changes.append(0.0 if before is None else float(np.abs(luma - before).mean()))
        before = luma
    return np.array(changes, np.float32)


def find_cuts(changes: Floats, settings: PrepareSettings) -> npt.NDArray[np.bool_]:
    """Flags (T,) of the first frame after each cut: its change is large, also relative to those of its neighbours."""
    padded = np.pad(changes.astype(np.float64), _NEAR, mode="reflect" if len(changes) > _NEAR else "edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEAR + 1), axis=1)
    cuts: npt.NDArray[np.bool_] = changes > np.maximum(settings.cut, settings.cut_factor * usual)
    return cuts


def split(changes: Floats, settings: PrepareSettings) -> list[Span]:
    """Pieces of `shortest` to `longest` seconds between cuts, of nearly equal length, including unusable ones."""
    spans: list[Span] = []
    starts = [0, *np.flatnonzero(find_cuts(changes, settings)).tolist(), len(changes)]
    least, most = round(settings.shortest * settings.fps), round(settings.longest * settings.fps)
    for first, stop in pairwise(starts):
        if stop - first < least:
            spans.append(Span(first, stop - first, "short", f"{(stop - first) / settings.fps:.2f} s between cuts"))
            continue
        edges = np.linspace(first, stop, -(-(stop - first) // most) + 1).round().astype(int)
        spans += [_checked(a, b, changes, settings) for a, b in pairwise(edges.tolist())]
    return [span for span in spans if span.count]


def _checked(first: int, stop: int, changes: Floats, settings: PrepareSettings) -> Span:
    repeated = changes[first + 1 : stop] < _EQUAL
    if repeated.mean() > settings.most_repeated:
        longest = max((b - a for a, b in runs(repeated)), default=0)
        return Span(first, stop - first, "repeated", f"{repeated.mean():.0%} of the frames, {longest} in a row")
    return Span(first, stop - first)
