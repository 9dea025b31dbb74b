"""The nodes for motions: predict, edit by records and by the host's curves, preview; and the example inputs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echomimic.errors import MotionError
from echomimic.media import read_video
from helpers import comfy_standin
from helpers.comfy_standin import Host, Interrupted, load_nodes


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    yield from comfy_standin.installed(tmp_path, monkeypatch)


def run(name: str, **values: Any) -> tuple[Any, ...]:
    return tuple(load_nodes()[name].execute(**values).result)


def predicted(**options: Any) -> tuple[Any, Any, Any]:
    """The example's picture and voice, and the motion that the voice gives it."""
    image, audio = run("EchoMimicExample")
    (model,) = run("EchoMimicLoad", version={"version": "mesh"})
    motion, report = run("EchoMimicPredictMotion", model=model, image=image, audio=audio, **options)
    assert report.startswith("a face: ")
    return image, audio, motion


def test_a_motion_is_predicted_edited_and_shown(host: Host) -> None:
    image, audio, motion = predicted(frames=20, size=128)
    jaw = motion.motion.curves["jaw"]
    edited, report, curve = run(
        "EchoMimicEditMotion", motion=motion, edits="scale_curve(track, 'jaw', 0.5)", curve="jaw"
    )
    assert np.allclose(edited.motion.curves["jaw"], jaw * 0.5, atol=1e-6) and report.startswith("a face: 20 frames")
    assert not np.allclose(edited.motion.points, motion.motion.points)  # networks that follow points see it too
    assert curve["points"][0][0] == 0 and curve["points"][-1][0] == 1
    again, _, _ = run("EchoMimicEditMotion", motion=motion, curve="jaw", drawn=curve)
    assert np.abs(again.motion.curves["jaw"] - edited.motion.curves["jaw"]).max() < 0.05
    video, sheet = run("EchoMimicPreviewMotion", motion=edited, image=image, audio=audio)
    assert read_video(Path(video.path)).count == 20 and sheet.shape[0] == 1


def test_a_prediction_is_stopped_while_the_voice_is_read(host: Host) -> None:
    image, audio = run("EchoMimicExample")
    (model,) = run("EchoMimicLoad", version={"version": "mesh"})
    host.stop_after = 0
    with pytest.raises(Interrupted):
        run("EchoMimicPredictMotion", model=model, image=image, audio=audio)


def test_a_drawn_curve_covers_the_whole_range(host: Host) -> None:
    _, _, motion = predicted(frames=11, size=128)
    ramp = {"points": [[0, 0], [1, 1]], "interpolation": "linear"}
    edited, _, _ = run("EchoMimicEditMotion", motion=motion, curve="yaw", drawn=ramp)
    assert np.allclose(edited.motion.curves["yaw"], np.linspace(-30, 30, 11), atol=1e-3)
    still, _, _ = run("EchoMimicEditMotion", motion=motion, curve="yaw", gain=0)
    assert np.allclose(still.motion.curves["yaw"], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"edits": "explode(track)"}, "explode"),
        ({"edits": "[1"}, "cannot be read as JSON"),
        ({"edits": '{"op": "scale_curve"'}, "cannot be read as JSON"),
        ({"gain": 2.0}, "choose it"),
        ({"curve": "left_x", "gain": 2.0}, "unknown curve 'left_x'"),
        ({"motion": None}, "no motion is linked"),
    ],
)
def test_bad_edits_are_refused_in_one_line(host: Host, values: dict[str, Any], why: str) -> None:
    given = {"motion": predicted(frames=3, size=64)[2], **values}
    with pytest.raises(MotionError, match=why) as error:
        run("EchoMimicEditMotion", **given)
    assert "\n" not in str(error.value)


def test_frames_are_limited_to_ten_minutes_beyond_the_voice(host: Host) -> None:
    from echomimic.apps.comfy.render import limit_frames
    from echomimic.notes import collect_notes
    from echomimic.types import Speech

    (model,) = run("EchoMimicLoad", version={"version": "mesh"})
    with collect_notes() as notes:
        assert limit_frames({"frames": 10_000_000}, model, Speech(2.0, 16_000)) == {"frames": 15_050}
        assert limit_frames({"frames": 40, "fps": 20.0}, model, Speech(2.0, 16_000)) == {"frames": 40, "fps": 20.0}
    assert len(notes) == 1 and "10000000 frames were asked for" in str(notes[0])
