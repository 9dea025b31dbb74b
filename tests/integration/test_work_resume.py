"""Renders interrupted by kill -9 or in the middle of a step resume to the same bytes; spans are rendered again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from echomimic import api
from echomimic.engines import Engine
from echomimic.errors import OptionError, OutputError
from echomimic.files import work_path
from echomimic.inputs import InputCache
from echomimic.media import read_video
from echomimic.options import WorkOptions
from echomimic.provenance import read_record
from echomimic.replay import compare_videos

pytestmark = pytest.mark.usefixtures("kept_networks")
MESH: dict[str, Any] = {"preset": "mesh", "size": 64, "fps": 10, "frames": 44}
TINY: dict[str, Any] = {
    "preset": "tiny",
    "size": 64,
    "fps": 10,
    "frames": 12,
    "steps": 3,
    "guidance_scale": 1,
    "device": "cpu",
}
KEEP = WorkOptions(keep=True)


class CutOff(BaseException):
    """Stops a render; like a kill it is not an error of the package."""


def frames_of(path: Path) -> npt.NDArray[np.uint8]:
    return np.stack([pixels for _, pixels in read_video(path).frames()])


@pytest.fixture
def inputs(head_file: Path, voice_file: Path) -> tuple[Path, Path]:
    return head_file, voice_file


@pytest.fixture(scope="module")
def engine(kept_networks: None) -> Iterator[Engine]:
    """The engine of all small diffusion renders: building its networks takes longer than rendering."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("echomimic.diffusion.networks.TINY_WIDTHS", (32,))
        yield api.load("tiny")


@pytest.fixture
def tiny(engine: Engine) -> dict[str, Any]:
    return {**TINY, "engine": engine}


@pytest.fixture(scope="module")
def mesh() -> dict[str, Any]:
    """The options of all mesh renders, with one engine: finding the face takes longer than rendering."""
    return {**MESH, "engine": api.load("mesh"), "inputs": InputCache()}


KILLED = """
import os, signal, sys
from pathlib import Path
from echomimic import api
from echomimic.files import work_path
from echomimic.inputs import InputCache

portrait, voice, output = map(Path, sys.argv[1:])
finished = work_path(output) / "segment-000001.npz"

def kill(done, total):
    if finished.exists():
        os.kill(os.getpid(), signal.SIGKILL)

api.animate(portrait, voice, output=output, progress=kill, preset="mesh", size=64, fps=10, frames=44)
"""
"""A render that kills its process once it has finished two segments."""


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_mesh_render_that_is_killed_and_then_stopped_has_the_same_bytes(
    inputs: tuple[Path, Path], tmp_path: Path, mesh: dict[str, Any]
) -> None:
    made, whole = tmp_path / "made.mp4", tmp_path / "whole.mp4"
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, (*inputs, made))], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL and not made.exists()

    def stop(done: int, total: int) -> None:
        if (work_path(made) / "segment-000002.npz").exists():
            raise CutOff

    with pytest.raises(CutOff):
        api.animate(*inputs, output=made, progress=stop, **mesh)
    clip = api.animate(*inputs, output=made, work=WorkOptions(resume=True), **mesh)
    assert "resumes at frame 30 of 44" in clip.notes and clip.frames == 44
    api.animate(*inputs, output=whole, **mesh)
    np.testing.assert_array_equal(frames_of(made), frames_of(whole))  # the records name other loaded libraries
    assert {path.name for path in tmp_path.iterdir()} == {"made.mp4", "whole.mp4"}


@pytest.mark.parametrize("name", ["made.gif", "made"])
def test_a_gif_and_a_folder_of_pictures_are_resumed(
    inputs: tuple[Path, Path], tmp_path: Path, name: str, mesh: dict[str, Any]
) -> None:
    made, whole, mesh = tmp_path / name, tmp_path / name.replace("made", "whole"), {**mesh, "frames": 32}

    def stop(done: int, total: int) -> None:
        if (work_path(made) / "segment-000001.npz").exists():
            raise CutOff

    with pytest.raises(CutOff):
        api.animate(*inputs, output=made, progress=stop, **mesh)
    assert not made.exists()
    assert "resumes at frame 20 of 32" in api.animate(*inputs, output=made, **mesh).notes
    api.animate(*inputs, output=whole, **mesh)
    assert compare_videos(whole, made) == (None, 0.0)
    assert {path.name for path in tmp_path.iterdir()} == {made.name, whole.name}


@pytest.mark.parametrize("given", [{"sampler": "unipc"}, {"cache": 2}])
def test_a_diffusion_render_is_resumed_after_a_step_and_after_a_segment(
    inputs: tuple[Path, Path], tmp_path: Path, tiny: dict[str, Any], given: dict[str, Any]
) -> None:
    made, whole = tmp_path / "made.mp4", tmp_path / "whole.mp4"
    tiny |= given
    api.animate(*inputs, output=whole, **tiny)
    for stop in (3, 12):  # in the last of three steps; then, after that step and ten frames, in the second segment
        calls = count(1)

        def cut_off(done: int, total: int, stop: int = stop, calls: Iterator[int] = calls) -> None:
            if next(calls) == stop:
                raise CutOff

        with pytest.raises(CutOff):
            api.animate(*inputs, output=made, progress=cut_off, **tiny)
        assert [path.name for path in work_path(made).glob("segment-*")] == ["segment-000000.npz"] * (stop == 12)
    clip = api.animate(*inputs, output=made, **tiny)
    assert {"resumes after step 3 of 3", "resumes at frame 10 of 12"} <= {*clip.notes}
    assert made.read_bytes() == whole.read_bytes()
    assert not work_path(made).exists()


def test_a_span_of_a_mesh_video_is_that_of_a_whole_render_and_nothing_else_changes(
    inputs: tuple[Path, Path], tmp_path: Path, mesh: dict[str, Any]
) -> None:
    video, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    changed = {**mesh, "motion_strength": 2.0}
    api.animate(*inputs, output=video, work=KEEP, **mesh)
    before, data = frames_of(video), video.read_bytes()
    with pytest.raises(OptionError, match="the video lasts 4"):
        api.animate(*inputs, output=video, work=WorkOptions(start=4.5), **changed)
    with pytest.raises(OptionError, match="expected `from` before `to`"):
        api.animate(*inputs, output=video, work=WorkOptions(start=2, end=1), **changed)
    with pytest.raises(OptionError, match="expected `from` before `to`"):
        api.animate(*inputs, output=video, work=WorkOptions(end=float("nan")), **changed)
    with pytest.raises(OutputError, match="there is no kept work for b"):
        api.animate(*inputs, output=other, work=WorkOptions(start=1), **changed)
    with pytest.raises(OutputError, match="another size, length"):
        api.animate(*inputs, output=video, work=WorkOptions(start=1), **{**changed, "size": 72})
    assert video.read_bytes() == data

    def stop(done: int, total: int) -> None:
        if done == 24:
            raise CutOff

    span = WorkOptions(start=1.2, end=2.6)
    with pytest.raises(CutOff):
        api.animate(*inputs, output=video, work=span, progress=stop, **changed)
    clip = api.animate(*inputs, output=video, work=span, **changed)
    api.animate(*inputs, output=other, **changed)
    assert [note for note in clip.notes if note.startswith("frames 10 to 29 are rendered again")]
    after, whole = frames_of(video), frames_of(other)
    np.testing.assert_array_equal(after[:10], before[:10])
    np.testing.assert_array_equal(after[30:], before[30:])
    np.testing.assert_array_equal(after[10:30], whole[10:30])
    assert (after[10:30] != before[10:30]).any()
    record = read_record(video)
    assert record is not None and [(part.first, part.last) for part in record.parts] == [(10, 30)]
    assert record.options["motion_strength"] == 1.0 and record.parts[0].options["motion_strength"] == 2.0


def test_a_span_of_a_diffusion_video_leaves_the_rest_as_it_was(
    inputs: tuple[Path, Path], tmp_path: Path, tiny: dict[str, Any]
) -> None:
    video = tmp_path / "a.mp4"
    tiny = {**tiny, "frames": 22, "steps": 2}
    api.animate(*inputs, output=video, work=KEEP, **tiny)
    before = frames_of(video)
    api.animate(*inputs, output=video, work=WorkOptions(start=1.0, end=2.0), **{**tiny, "seed": 5})
    after = frames_of(video)
    np.testing.assert_array_equal(after[:10], before[:10])
    np.testing.assert_array_equal(after[20:], before[20:])
    assert (after[10:20] != before[10:20]).any()
    assert [path.name for path in work_path(video).glob("latents-*")] == ["latents-1.safetensors"]
