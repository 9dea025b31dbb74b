"""Inputs of nodes that cannot be used, or only in part, give one line that names the widget."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echomimic.apps.comfy import host as hosts
from echomimic.apps.comfy.render import Driver, driving_motion
from echomimic.errors import EchoMimicError, FaceError, MotionError, PictureError, SoundError, WeightsError
from echomimic.landmarks.crop import CROP
from echomimic.media import read_picture, speech_from_samples, write_clip
from echomimic.motion.gestures import gesture_track
from echomimic.presets import PRESETS
from echomimic.types import LandmarkTrack
from helpers import comfy_standin
from helpers.comfy_standin import Host, Interrupted, Video, load_nodes

GREY = torch.full((1, 96, 96, 3), 0.5)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_networks: None) -> Iterator[Host]:
    for name, preset in PRESETS.items():  # a diffusion preset without files has small random weights
        monkeypatch.setitem(PRESETS, name, replace(preset, files={}))
    yield from comfy_standin.installed(tmp_path, monkeypatch)


@pytest.fixture
def head(head_file: Path) -> torch.Tensor:
    return torch.from_numpy(read_picture(head_file).pixels.astype(np.float32) / 255)[None]


def tone(samples: int = 8000) -> dict[str, Any]:
    return {"waveform": 0.3 * torch.sin(torch.arange(samples) / 18)[None, None], "sample_rate": 16_000}


def defaults(node: Any) -> dict[str, Any]:
    return {each.id: each.more["default"] for each in node.define_schema().inputs if "default" in each.more}


@pytest.fixture
def native(host: Host, head: torch.Tensor) -> Callable[..., str]:
    """Runs EchoMimic Sampler on mesh and gives its report."""
    nodes = load_nodes()
    (model,) = nodes["EchoMimicLoad"].execute({"version": "mesh", "workers": 1}).result
    sampler = nodes["EchoMimicSampler"]

    def run(**changed: Any) -> str:
        values = {**defaults(sampler), "frames": 2, "size": 64, "image": head, "audio": tone(), "model": model}
        report: str = sampler.execute(**{**values, **changed}).result[1]
        return report

    return run


@pytest.fixture
def published(host: Host, head: torch.Tensor) -> Callable[..., Any]:
    """Runs Echo_LoadModel and Echo_Sampler, and gives what came out."""
    nodes = load_nodes()
    loader, sampler = nodes["Echo_LoadModel"], nodes["Echo_Sampler"]

    def run(version: str, mode: str = "audio_drived_acc", mouth: bool = False, **changed: Any) -> Any:
        model, face, _ = loader.execute("", True, mode, mouth, False, False, version).result
        small = {"length": 2, "steps": 1, "width": 64, "height": 64, "cfg": 1.0}
        values = {**defaults(sampler), **small, "image": head, "audio": tone(), **changed}
        return sampler.execute(model=model, face_detector=face, **values)

    return run


@pytest.mark.parametrize("image", [None, GREY[0], GREY[:0], GREY[:, :, :0], GREY[..., :2]])
def test_a_missing_image_is_refused(native: Callable[..., str], image: Any) -> None:
    with pytest.raises(PictureError, match="link an IMAGE"):
        native(image=image)


def test_an_image_with_values_that_are_not_numbers_is_refused(native: Callable[..., str]) -> None:
    with pytest.raises(PictureError, match="not numbers"):
        native(image=GREY * float("nan"))


def test_images_of_one_and_four_channels_are_taken(native: Callable[..., str], head: torch.Tensor) -> None:
    for image in (head.mean(-1, keepdim=True), torch.cat([head, torch.zeros_like(head[..., :1])], -1)):
        assert native(image=image).startswith("2 frames")


def test_the_first_of_several_images_is_the_portrait(native: Callable[..., str], head: torch.Tensor) -> None:
    report = native(image=torch.cat([head, torch.zeros_like(head)]))
    assert report.endswith("\nnote: 2 images are linked: the first is the portrait")


@pytest.mark.parametrize("shape", [(1, 1, 0), (0, 1, 9000), (1, 0, 9000), (1, 9000)])
def test_an_empty_sound_is_refused(native: Callable[..., str], shape: tuple[int, ...]) -> None:
    with pytest.raises(SoundError, match="expected \\(1, channels, samples\\)"):
        native(audio={"waveform": torch.zeros(shape), "sample_rate": 16_000})


def test_a_video_without_sound_gives_no_voice(native: Callable[..., str]) -> None:
    with pytest.raises(SoundError, match="without a sound track"):
        native(audio=None)


def test_a_sound_with_values_that_are_not_numbers_is_refused(native: Callable[..., str]) -> None:
    with pytest.raises(SoundError, match="not numbers"):
        native(audio={"waveform": torch.full((1, 2, 9000), float("nan")), "sample_rate": 16_000})


def test_errors_name_widgets(native: Callable[..., str], published: Callable[..., Any], host: Host) -> None:
    across = torch.arange(96.0)
    waves = 0.5 + 0.2 * torch.sin(across[:, None] * across / 90) + 0.2 * torch.cos(across / 9)
    with pytest.raises(FaceError, match=r"say where it is with face_box x,y,w,h$"):
        native(image=waves[None, ..., None])
    with pytest.raises(FaceError, match="face_box x,y,w,h, which only EchoMimic Sampler has"):
        published("V1", image=waves[None, ..., None])
    assert list((host.root / "temp").glob("*")) == []


def test_sides_that_the_network_cannot_make(published: Callable[..., Any]) -> None:
    """The host checks ranges, not steps: a script may send any."""
    for version in ("V1", "V2"):
        out = published(version, length=1, width=66, height=75)
        assert out.result[0].shape == (1, 72, 64, 3)
        assert "note: the size is 66x75; the network makes multiples of 8: 64x72" in out.ui["text"][0]


def test_a_window_of_no_frames(published: Callable[..., Any]) -> None:
    report = published("V2", context_frames=0).ui["text"][0]
    assert "context_frames is 0; the network accepts 2 to 32: 2 is used" in report
    assert "context_overlap is 3 and a window has 2 frames: 1 is used" in report


def test_a_missing_pose_folder_is_reported_without_mentioning_layouts(
    published: Callable[..., Any], host: Host
) -> None:
    said = load_nodes()["Echo_Sampler"].validate_inputs("dance")
    assert said.endswith(
        "expected none or a folder of input/tensorrt_lite: put a folder of that name there, or choose another"
    )
    with pytest.raises(MotionError, match=f"there is no motion at {host.root}/input/tensorrt_lite/dance"):
        published("V2", pose_dir="dance")


@pytest.mark.parametrize("frames", [GREY, GREY[:, :1, :1], GREY[:0]])
def test_driving_frames_without_anybody(published: Callable[..., Any], host: Host, frames: torch.Tensor) -> None:
    with pytest.raises((FaceError, PictureError)) as error:
        published("V1", "pose_acc", video_images=frames)
    assert "echomimic_" not in str(error.value) and str(error.value).startswith(("the video shows nobody", "an image"))
    assert list((host.root / "temp").glob("*")) == []


def test_one_driving_frame_and_its_mouth(
    published: Callable[..., Any], head: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echomimic.diffusion import conditioning
    from echomimic.diffusion.condition_images import draw_motion

    seen: list[Any] = []

    def draw(track: LandmarkTrack, frame: int, size: tuple[int, int]) -> Any:
        seen.append(track.parts)
        return draw_motion(track, frame, size)

    monkeypatch.setattr(conditioning, "draw_motion", draw)
    for mouth in (False, True):
        report = published("V1", "pose_acc", mouth, video_images=head).ui["text"][0]
        assert report.startswith("2 frames") and "back and forth" in report
    assert seen[0] is None and "mouth" in seen[-1]


def test_a_folder_and_driving_frames_at_once(published: Callable[..., Any], host: Host, head: torch.Tensor) -> None:
    folder = host.root / "input" / "tensorrt_lite" / "still"
    folder.mkdir(parents=True)
    points = np.random.default_rng(0).random((478, 3)).astype(np.float32) * 200
    np.save(folder / "0.npy", points)
    report = published("V1", "pose_acc", pose_dir="still", video_images=head).ui["text"][0]
    assert "note: pose_dir still is followed and video_images is not used" in report


def test_a_motion_of_the_other_kind_is_refused_with_a_message() -> None:
    voice = speech_from_samples(0.2 * np.sin(np.arange(16_000, dtype=np.float32)), 16_000, "voice")
    body = gesture_track(voice, 25, 3, 0, None, (64, 64), 1.0)
    face = LandmarkTrack(np.zeros((3, 478, 3), np.float32), (64, 64), 25, np.ones(3, bool))
    for track, preset, part in ((body, "v1", "face"), (face, "v2", "body")):
        with pytest.raises(MotionError, match=f"EchoMimic Motion with part {part}"):
            driving_motion(Driver(track), PRESETS[preset])


def film(host: Host, image: torch.Tensor, frames: int) -> Video:
    path = host.root / "input" / "film.mp4"
    write_clip(path, iter([np.ascontiguousarray((image[0] * 255).numpy().astype(np.uint8))] * frames), 25, None, {})
    return Video(str(path))


def test_following_a_video_is_seen_and_can_be_stopped(host: Host, head: torch.Tensor) -> None:
    motion = load_nodes()["EchoMimicMotion"]
    values = {**defaults(motion), "video": film(host, head, 6)}
    host.stop_after = 2
    with pytest.raises(Interrupted):
        motion.execute(**values)
    assert [reported[:2] for reported in host.reported] == [(1, 6), (2, 6)]
    assert list((host.root / "temp").iterdir()) == []
    assert motion.execute(**values).result[1].startswith("a face: 6 frames")


def test_what_core_nodes_found_is_called_by_its_type(host: Host) -> None:
    motion = load_nodes()["EchoMimicMotion"]
    for source, name in (({"pose_keypoints": []}, "POSE_KEYPOINT"), ({"video": film(host, GREY, 3)}, "the video")):
        with pytest.raises(EchoMimicError, match=f"^{name} "):
            motion.execute(**defaults(motion), **source)
    assert list((host.root / "temp").iterdir()) == []


def test_a_crop_goes_back_into_its_own_picture_only(host: Host, head: torch.Tensor) -> None:
    nodes = load_nodes()
    place = nodes["EchoMimicPortrait"].execute(image=head, **defaults(nodes["EchoMimicPortrait"])).result[1]
    with pytest.raises(PictureError, match="expected the one of 256x256 that EchoMimic Portrait cropped"):
        nodes["EchoMimicPasteBack"].execute(film(host, head, 1), head[:, :60, :60], place)


def test_broken_links_are_not_listed_as_contents(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "0.npy").touch()
    assert [name for name, _ in hosts.contents(tmp_path)] == ["0.npy"]


def test_tooltips_name_the_value_that_leaves_an_option_to_the_preset(host: Host) -> None:
    nodes = load_nodes()
    slots = {each.id: each.more for each in nodes["EchoMimicSampler"].define_schema().inputs}
    assert slots["face"]["tooltip"].endswith("starting at 1; 0: the largest")
    assert slots["guidance"]["tooltip"].endswith("; -1: the preset's default")
    assert slots["size"]["tooltip"].endswith("; 0: the preset's default, else the picture's own, at most 1024")
    own = {each.id: each.more["tooltip"] for each in nodes["EchoMimicPortrait"].define_schema().inputs if each.more}
    assert own["size"].endswith(f"; 0: {CROP}")


def test_every_widget_has_a_tooltip(host: Host) -> None:
    for name, node in load_nodes().items():
        for each in node.define_schema().inputs:
            inner = [i for option in each.more.get("options", []) if hasattr(option, "inputs") for i in option.inputs]
            for slot in (each, *inner):
                assert "default" not in slot.more or slot.more.get("tooltip"), (name, slot.id)


def test_the_command_for_weights_survives_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in comfy_standin.installed(tmp_path / "my files", monkeypatch):
        load_nodes()
        folder = host.root / "models" / "echomimic"
        folder.mkdir()
        with pytest.raises(WeightsError, match=f'--to "{folder}"'):
            hosts.weights_of("v2")


def test_memory_is_freed_before_networks_are_loaded(
    native: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = load_nodes()["EchoMimicLoad"].execute({"version": "tiny"}).result
    done: list[str] = []
    made, management = model.engine.networks, sys.modules["comfy.model_management"]
    monkeypatch.setattr(management, "free_memory", lambda *_: done.append("room"))

    def networks(*wanted: Any) -> Any:
        done.append("networks")
        return made(*wanted)

    monkeypatch.setattr(model.engine, "networks", networks)
    for _ in range(2):
        native(model=model, steps=1)
    assert done[:2] == ["room", "networks"] and done.count("room") == 1


def test_stopped_while_driving_frames_are_written(
    published: Callable[..., Any], host: Host, head: torch.Tensor
) -> None:
    host.stop_after = 0
    with pytest.raises(Interrupted):
        published("V1", "pose_acc", video_images=head)
    assert list((host.root / "temp").iterdir()) == []


def test_stopped_while_a_crop_is_put_back(host: Host, head: torch.Tensor) -> None:
    nodes = load_nodes()
    place = nodes["EchoMimicPortrait"].execute(image=head, **defaults(nodes["EchoMimicPortrait"])).result[1]
    host.stop_after = 1
    with pytest.raises(Interrupted):
        nodes["EchoMimicPasteBack"].execute(film(host, head, 3), head, place)
    assert len(host.reported) == 1 and list((host.root / "temp").iterdir()) == []
