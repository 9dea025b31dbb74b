"""What `plan` and `animate` do around the engines: checks of paths and packages, alignment of motions with a note."""

from importlib.util import find_spec
from pathlib import Path

import pytest

import echomimic
from echomimic import presets
from echomimic.errors import MotionError, OutputError, SetupError

needs_diffusion = pytest.mark.skipif(find_spec("torch") is None, reason="the extra diffusion is not installed")


@needs_diffusion
def test_a_motion_of_the_whole_picture_is_brought_to_the_crop_of_a_landmark_preset(
    head_file: Path, voice_file: Path
) -> None:
    track = echomimic.predict(head_file, voice_file)
    assert isinstance(track, echomimic.LandmarkTrack)
    shifted = echomimic.LandmarkTrack(track.points + 90, track.image_size, track.fps, track.valid, track.curves)
    notes = echomimic.plan(head_file, voice_file, shifted, preset="v1-landmarks").notes
    assert "the motion is aligned to the portrait" in notes
    assert not any("poorly aligned" in note for note in notes)


@needs_diffusion
def test_with_exact_a_misplaced_track_is_drawn_unchanged_with_a_warning(head_file: Path, voice_file: Path) -> None:
    track = echomimic.predict(head_file, voice_file)
    assert isinstance(track, echomimic.LandmarkTrack)
    shifted = echomimic.LandmarkTrack(track.points + 90, track.image_size, track.fps, track.valid, track.curves)
    notes = echomimic.plan(head_file, voice_file, shifted, preset="v1-landmarks", exact=True).notes
    assert any("poorly aligned" in note for note in notes)


def test_a_diffusion_preset_without_its_packages_says_how_to_get_them(
    head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"the package torch is missing, which preset v1 needs.*pip install"):
        echomimic.plan(head_file, voice_file, preset="v1")


def test_the_path_for_the_motion_is_checked_first(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(OutputError, match="does not exist"):
        echomimic.animate(head_file, voice_file, output=out, save_motion=tmp_path / "none" / "m.npz")
    with pytest.raises(MotionError, match="expected a name that ends in"):
        echomimic.animate(head_file, voice_file, output=out, save_motion=tmp_path / "m.pkl")
    assert not list(tmp_path.iterdir())
