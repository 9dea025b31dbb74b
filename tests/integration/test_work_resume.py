"""Renders that are cut off, by kill -9 or in the middle of a step, go on to the same bytes; spans rendered again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from echomimic import api
from echomimic.errors import OptionError, OutputError
from echomimic.files import work_path
from echomimic.media import read_video
from echomimic.options import WorkOptions
from echomimic.provenance import read_record

pytestmark = pytest.mark.usefixtures("kept_networks")
MESH: dict[str, Any] = {"preset": "mesh", "size": 64, "frames": 110}
TINY: dict[str, Any] = {"preset": "tiny", "size": 64, "frames": 27, "steps": 3, "device": "cpu"}
KEEP = WorkOptions(keep=True)


class CutOff(BaseException):
    """Stops a render; like a kill it is no error of the package."""


def frames_of(path: Path) -> npt.NDArray[np.uint8]:
    return np.stack([pixels for _, pixels in read_video(path).frames()])


def codes(clip: Any) -> list[str]:
    return [note.code for note in clip.notes]


@pytest.fixture
def inputs(head_file: Path, voice_file: Path) -> tuple[Path, Path]:
    return head_file, voice_file


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_mesh_render_that_is_killed_twice_has_the_same_bytes(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    made, whole = tmp_path / "made.mp4", tmp_path / "whole.mp4"
    command = [sys.executable, "-m", "echomimic", "animate", *map(str, inputs), "-o", str(made), "--preset", "mesh"]
    command += ["--size", "64", "--frames", "110"]
    for number in (0, 2):
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            until = time.monotonic() + 120
            while not (work_path(made) / f"segment-{number:06d}.npz").exists() and time.monotonic() < until:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.communicate()
    api.animate(*inputs, output=whole, **MESH)
    clip = api.animate(*inputs, output=made, work=WorkOptions(resume=True), **MESH)
    assert "render_resumed" in codes(clip) and clip.frames == 110
    np.testing.assert_array_equal(frames_of(made), frames_of(whole))
    assert {path.name for path in tmp_path.iterdir()} == {"made.mp4", "whole.mp4"}


@pytest.mark.parametrize(("sampler", "stops"), [("ddim", (4, 32)), ("dpm++", (7,)), ("unipc", (7,))])
def test_a_diffusion_render_goes_on_after_a_step_and_after_a_segment(
    inputs: tuple[Path, Path], tmp_path: Path, sampler: Any, stops: tuple[int, ...]
) -> None:
    made, whole = tmp_path / "made.mp4", tmp_path / "whole.mp4"
    api.animate(*inputs, output=whole, **TINY, sampler=sampler)

    for stop in (*stops, 10**6):
        calls = 0

        def count(done: int, total: int, stop: int = stop) -> None:
            nonlocal calls
            calls += 1
            if calls == stop:
                raise CutOff

        try:
            clip = api.animate(*inputs, output=made, progress=count, **TINY, sampler=sampler)
        except CutOff:
            continue
    assert {"denoising_resumed", "render_resumed"} & {*codes(clip)}
    assert made.read_bytes() == whole.read_bytes()
    assert not work_path(made).exists()


def test_a_span_of_a_mesh_video_is_that_of_a_whole_render_and_nothing_else_changes(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    video, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    changed = {**MESH, "motion_strength": 2.0}
    api.animate(*inputs, output=video, work=KEEP, **MESH)
    before, data = frames_of(video), video.read_bytes()
    with pytest.raises(OptionError, match="the video lasts 4"):
        api.animate(*inputs, output=video, work=WorkOptions(start=4.5), **changed)
    with pytest.raises(OptionError, match="expected `from` before `to`"):
        api.animate(*inputs, output=video, work=WorkOptions(start=2, end=1), **changed)
    with pytest.raises(OutputError, match="there is no kept work for b"):
        api.animate(*inputs, output=other, work=WorkOptions(start=1), **changed)
    with pytest.raises(OutputError, match="another size, length"):
        api.animate(*inputs, output=video, work=WorkOptions(start=1), **{**changed, "size": 72})
    assert video.read_bytes() == data

    def stop(done: int, total: int) -> None:
        if done == 60:
            raise CutOff

    span = WorkOptions(start=1.2, end=2.6)
    with pytest.raises(CutOff):
        api.animate(*inputs, output=video, work=span, progress=stop, **changed)
    clip = api.animate(*inputs, output=video, work=span, **changed)
    api.animate(*inputs, output=other, **changed)
    assert [note for note in clip.notes if note.startswith("frames 25 to 74 are rendered again")]
    after, whole = frames_of(video), frames_of(other)
    np.testing.assert_array_equal(after[:25], before[:25])
    np.testing.assert_array_equal(after[75:], before[75:])
    np.testing.assert_array_equal(after[25:75], whole[25:75])
    assert (after[25:75] != before[25:75]).any()
    record = read_record(video)
    assert record is not None and [(part.first, part.last) for part in record.parts] == [(25, 75)]
    assert record.options["motion_strength"] == 1.0 and record.parts[0].options["motion_strength"] == 2.0


def test_a_span_of_a_diffusion_video_leaves_the_rest_as_it_was(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    tiny = {**TINY, "frames": 50, "steps": 2}
    api.animate(*inputs, output=video, work=KEEP, **tiny)
    before = frames_of(video)
    api.animate(*inputs, output=video, work=WorkOptions(start=1.0, end=2.0), **{**tiny, "seed": 5})
    after = frames_of(video)
    np.testing.assert_array_equal(after[:24], before[:24])
    np.testing.assert_array_equal(after[48:], before[48:])
    assert (after[24:48] != before[24:48]).any()
    assert [path.name for path in work_path(video).glob("latents-*")] == ["latents-1.safetensors"]
