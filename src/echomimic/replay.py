"""Render a video again from the record in its file, and compare the two."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from echomimic import api
from echomimic.checkpoints import LoraFile
from echomimic.errors import InputError, VideoError
from echomimic.media import check_not_input, read_frames, read_video
from echomimic.provenance import differing_versions, digest, read_record
from echomimic.types import Clip, Picture, Progress


@dataclass(frozen=True)
class Replay:
    """A video that was rendered again. `equal` is whether all frames decoded from both files are the same.

    `first_difference` is the number of the first frame that differs, from 0; `mean_difference` is over all frames, in
    grey values, None if number or size of the frames differ; `reasons` are the versions, weights and formats that
    differ.
    """

    clip: Clip
    equal: bool
    first_difference: int | None
    mean_difference: float | None
    reasons: tuple[str, ...]


def replay(
    video: Path,
    portrait: Path,
    speech: Path,
    motion: Path | None = None,
    *,
    output: Path,
    weights: Path | None = None,
    lora: Path | LoraFile | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Render `video` again to `output` from its record and the same inputs, and compare the frames.

    Raises VideoError for a file without a record, InputError for other inputs than those of the record.
    """
    check_not_input(output, video)
    record = read_record(video)
    if record is None:
        raise VideoError(f"{video} has no render record; expected a file that echomimic wrote")
    given = {"portrait": portrait, "speech": speech, "motion": motion}
    for name, path in given.items():
        _check_input(video, name, path, getattr(record, name))
    clip = api.animate(
        portrait,
        speech,
        motion,
        output=output,
        preset=record.preset,
        weights=weights,
        lora=lora,
        progress=progress,
        **record.options,
    )
    first, mean = compare_videos(video, output)
    made = read_record(output)
    assert made is not None  # animate has just written it
    parts = [f"frames {part.first} to {part.last - 1} were rendered again with other settings" for part in record.parts]
    other = video.suffix.lower() != output.suffix.lower()
    formats = ["another format, which stores other colours"] if other else []
    return Replay(clip, first is None, first, mean, (*differing_versions(record, made), *parts, *formats))


def _check_input(video: Path, name: str, path: Path | None, recorded: str | None) -> None:
    if path is None and recorded is None:
        return
    if path is None:
        raise InputError(f"{video} was made with a motion; expected that file as --motion (sha256 {recorded})")
    found = digest(path)
    if recorded is None:
        raise InputError(f"{video} was made without a motion; expected none: leave out {path}")
    if found != recorded:
        raise InputError(
            f"{path} is not the {name} of {video} (sha256 {found[:16]}); expected the file with sha256 {recorded}"
        )


def compare_videos(one: Path, other: Path) -> tuple[int | None, float | None]:
    """The first frame that differs, and the mean difference in grey values; frames are compared as decoded.

    The mean difference is None if the number or the size of the frames differs.
    """
    first, total, count = None, 0.0, 0
    for number, (a, b) in enumerate(zip_longest(_frames(one), _frames(other))):
        if a is None or b is None or a.shape != b.shape:
            return (number if first is None else first), None
        if not np.array_equal(a, b):
            first = number if first is None else first
            total += float(np.abs(a.astype(np.int16) - b).mean())
        count += 1
    return first, total / max(1, count)


def _frames(path: Path) -> Iterator[Picture]:
    if path.is_dir():
        return read_frames(path)
    return (frame for _, frame in read_video(path).frames())
