"""A prepared run: the motion that is saved is the one that is rendered, and saving it changes nothing."""

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import echomimic
from echomimic import LandmarkTrack, PoseTrack, api
from echomimic.engines import Engine, Render
from echomimic.errors import MotionError, OptionError, WeightsError
from echomimic.landmarks import face as faces
from echomimic.landmarks.body import Body
from echomimic.media import read_picture, read_speech
from echomimic.motion import gestures, load_motion, save_motion
from echomimic.notes import collect_notes
from echomimic.options import Options, OptionsDict, make_options
from echomimic.presets import find_preset
from echomimic.types import Motion, Portrait, Speech

QUICK: OptionsDict = {
    "frames": 4,
    "steps": 1,
    "size": 64,
    "guidance_scale": 1.0,
    "dtype": "float32",
    "device": "cpu",
    "workers": 1,
}

pytestmark = pytest.mark.usefixtures("kept_networks")
needs_diffusion = pytest.mark.skipif(find_spec("torch") is None, reason="the extra diffusion is not installed")
NAMES = ("mesh", "tiny", "v1", "v1-landmarks", "v2")


def case(name: str, *more: object) -> Any:
    return pytest.param(name, *more, marks=() if name == "mesh" else needs_diffusion)


NETWORKS = pytest.mark.parametrize("name", [case(name) for name in NAMES])


@pytest.fixture(scope="module")
def portrait(head_file: Path) -> Portrait:
    return read_picture(head_file)


@pytest.fixture(scope="module")
def speech(voice_file: Path) -> Speech:
    return read_speech(voice_file)


@pytest.fixture(autouse=True)
def body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body for the presets with hands: the portrait shows only a head."""
    found = np.zeros((18, 3), np.float32)
    found[:] = np.linspace((0.3, 0.4, 1), (0.7, 0.9, 1), 18)
    made = Body(found, np.zeros((2, 21, 3), np.float32), np.zeros((68, 3), np.float32))
    monkeypatch.setattr(gestures, "find_body", lambda _: made)
    if find_spec("torch") is not None:
        from echomimic.diffusion import conditioning

        monkeypatch.setattr(conditioning, "find_body", lambda _: made)


@cache
def networks(channels: int) -> Any:
    from echomimic.diffusion.networks import tiny_networks

    return tiny_networks(find_preset("tiny" if channels == 1 else "v2"))


def engine_of(name: str) -> Engine:
    """The engine of a preset; all networks are small and random."""
    engine = api._load(find_preset(name), None, None, None)
    if find_preset(name).engine == "diffusion":
        import torch

        from echomimic.diffusion.networks import condition_channels

        made = networks(condition_channels(find_preset(name)))
        engine._loaded = ((torch.device("cpu"), torch.float32, False, False), made)  # type: ignore[attr-defined]
    return engine


def options_of(name: str, **given: object) -> Options:
    return make_options({**QUICK, **given}, find_preset(name).defaults)


def pictures(render: Render) -> np.ndarray:
    frames = np.stack(list(render.frames()))
    assert len(frames) == render.num_frames
    assert frames.shape[2:0:-1] == render.size
    return frames


def driving_track(name: str, portrait: Portrait, speech: Speech) -> Motion:
    """A motion of the kind that the preset follows, of another length and rate than the clip."""
    if name == "v2":
        return gestures.gesture_track(speech, 30.0, 7, 3, None, (64, 64))
    made = api._predict(portrait, speech, make_options({"frames": 7, "size": 256, "seed": 9}), None)
    return replace(made, fps=30.0, curves=None)


@pytest.mark.parametrize(
    ("name", "given", "framing"),
    [
        *(case(name, *more) for more in ((False, "full"), (True, "crop")) for name in NAMES),
        *(case(name, *more) for more in ((False, "crop"), (True, "full")) for name in ("mesh", "v1-landmarks")),
    ],
)
def test_saving_the_motion_does_not_change_the_video_and_it_renders_the_same_again(
    name: str, given: bool, framing: str, portrait: Portrait, speech: Speech, tmp_path: Path
) -> None:
    engine, options = engine_of(name), options_of(name, framing=framing)
    motion = driving_track(name, portrait, speech) if given else None
    plain = pictures(engine.prepare(portrait, speech, motion, options))
    render = engine.prepare(portrait, speech, motion, options)
    path = save_motion(tmp_path / "m.npz", render.motion)
    assert len(render.motion) == 4
    assert np.array_equal(pictures(render), plain)
    again = engine.prepare(portrait, speech, load_motion(path), options)
    assert np.array_equal(pictures(again), plain)


def frames_in(folder: Path) -> np.ndarray:
    """The pixels of a folder of frames; their tags differ, since a saved motion is one more input."""
    return np.stack([echomimic.read_picture(path).pixels for path in sorted(folder.glob("*.png"))])


@NETWORKS
def test_animate_writes_the_same_video_with_and_without_save_motion(
    name: str, head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    engine = engine_of(name)
    for folder, saved in (("a", None), ("b", tmp_path / "m.json")):
        clip = echomimic.animate(
            head_file, voice_file, output=tmp_path / folder, engine=engine, save_motion=saved, **QUICK
        )
        assert (clip.preset, clip.frames) == (name, 4)
    again = tmp_path / "c"
    echomimic.animate(head_file, voice_file, tmp_path / "m.json", output=again, engine=engine, **QUICK)
    first = frames_in(tmp_path / "a")
    assert len(first) == 4
    for folder in ("b", "c"):
        assert np.array_equal(frames_in(tmp_path / folder), first)


@needs_diffusion
@pytest.mark.parametrize("exact", [False, True])
def test_a_mask_preset_renders_its_saved_motion_again_over_the_whole_voice(
    exact: bool, portrait: Portrait, speech: Speech
) -> None:
    engine, options = engine_of("tiny"), options_of("tiny", frames=0, exact=exact, context_frames=12)
    render = engine.prepare(portrait, speech, None, options)
    assert render.num_frames == (26 if exact else 24)
    again = engine.prepare(portrait, speech, render.motion, options)
    assert again.num_frames == render.num_frames
    assert np.array_equal(pictures(again), pictures(render))


@needs_diffusion
def test_the_motion_of_a_whole_picture_is_that_of_the_crop_which_the_network_sees(
    portrait: Portrait, speech: Speech
) -> None:
    render = engine_of("v1-landmarks").prepare(portrait, speech, None, options_of("v1-landmarks", framing="full"))
    track = render.motion
    assert isinstance(track, LandmarkTrack)
    assert track.image_size == (render.crop.width, render.crop.height) == (64, 64)
    expected = render.crop.points(faces.pick_face(portrait, Options()).landmarks)
    assert np.abs(np.median(track.points, axis=0) - expected)[:, :2].max() < 4


@needs_diffusion
def test_a_track_that_lies_on_the_face_is_rendered_unchanged(portrait: Portrait, speech: Speech) -> None:
    engine, options = engine_of("v1-landmarks"), options_of("v1-landmarks")
    first = engine.prepare(portrait, speech, None, options).motion
    assert isinstance(first, LandmarkTrack)
    own = replace(first, points=first.points + np.float32(0.7), curves=None)
    render = engine.prepare(portrait, speech, own, options)
    assert isinstance(render.motion, LandmarkTrack)
    assert np.array_equal(render.motion.points, own.points)
    assert "motion_aligned" not in {note.code for note in render.warnings}
    forced = engine.prepare(portrait, speech, own, options, align=True)
    assert "motion_aligned" in {note.code for note in forced.warnings}


@needs_diffusion
def test_hands_are_generated_once_and_saved_as_rendered(portrait: Portrait, speech: Speech) -> None:
    render = engine_of("v2").prepare(portrait, speech, None, options_of("v2"))
    with collect_notes() as notes:
        assert isinstance(render.motion, PoseTrack)
        list(render.frames())
    assert [note.code for note in notes].count("gestures_generated") == 1


@needs_diffusion
def test_the_face_is_searched_once(
    head_file: Path, voice_file: Path, portrait: Portrait, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = api._predict(portrait, speech, Options(frames=5), None)
    shifted = replace(track, points=track.points + 60)
    searches: list[int] = []
    search = faces._Search.faces

    def count(*given: Any, **more: Any) -> Any:
        searches.append(1)
        return search(*given, **more)

    monkeypatch.setattr(faces._Search, "faces", count)
    plan = echomimic.plan(head_file, voice_file, shifted, preset="v1-landmarks")
    assert "the motion is aligned to the portrait" in plan.notes
    assert len(searches) == 1
    for name in ("mesh", "v1-landmarks"):
        searches.clear()
        engine_of(name).prepare(portrait, speech, None, options_of(name)).motion  # noqa: B018
        assert len(searches) == 1


@NETWORKS
def test_an_engine_is_refused_for_another_preset(name: str, head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    other = "v2" if name != "v2" else "mesh"
    with pytest.raises(OptionError, match=f"the engine is of preset {name} and preset is '{other}'") as caught:
        echomimic.animate(
            head_file, voice_file, output=tmp_path / "o.mp4", preset=other, engine=engine_of(name), **QUICK
        )
    assert caught.value.code == "engine_of_other_preset"
    assert not list(tmp_path.iterdir())


@needs_diffusion
def test_a_motion_of_the_wrong_kind_is_refused_before_the_networks_are_loaded(
    portrait: Portrait, speech: Speech
) -> None:
    for name, other in (("mesh", "v2"), ("v1", "v2"), ("v1-landmarks", "v2"), ("v2", "v1")):
        motion = driving_track(other, portrait, speech)
        with pytest.raises(MotionError, match="expected") as caught:
            engine_of(name).prepare(portrait, speech, motion, options_of(name))
        assert caught.value.code == "motion_wrong_kind"


@needs_diffusion
def test_missing_weights_are_reported_before_anything_about_the_motion(
    head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    with collect_notes() as notes, pytest.raises(WeightsError, match="preset v2 needs it"):
        echomimic.animate(
            head_file, voice_file, output=tmp_path / "o.mp4", preset="v2", weights=tmp_path / "none", **QUICK
        )
    assert notes == []


def test_predict_writes_the_motion_that_animate_renders(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    track = echomimic.predict(head_file, voice_file, output=tmp_path / "m.npz", **QUICK)
    saved = load_motion(tmp_path / "m.npz")
    assert isinstance(track, LandmarkTrack) and isinstance(saved, LandmarkTrack)
    assert np.array_equal(track.points, saved.points) and len(track) == 4


@pytest.mark.parametrize("name", ["mesh", pytest.param("tiny", marks=needs_diffusion)])
def test_a_picture_that_lies_on_its_side_is_turned(name: str, portrait: Portrait, speech: Speech) -> None:
    turned = replace(portrait, pixels=np.ascontiguousarray(np.rot90(portrait.pixels, 1)))
    engine, options = engine_of(name), options_of(name, frames=1)
    render = engine.prepare(turned, speech, None, options)
    assert "picture_turned" in {note.code for note in render.warnings}
    upright, frame = (pictures(engine.prepare(each, speech, None, options))[0] for each in (portrait, turned))
    assert np.abs(frame.astype(int) - upright).mean() < np.abs(np.rot90(frame).astype(int) - upright).mean() / 4


@NETWORKS
def test_a_portrait_upside_down_is_prepared_as_the_upright_one(name: str, portrait: Portrait, speech: Speech) -> None:
    over = Portrait(np.ascontiguousarray(np.rot90(portrait.pixels, 2)), name="over.png")
    renders = [engine_of(name).prepare(each, speech, None, options_of(name)) for each in (portrait, over)]
    assert renders[0].crop == renders[1].crop and renders[0].size == renders[1].size
    assert [note.code for note in renders[1].warnings if note not in renders[0].warnings] == ["picture_turned"]
