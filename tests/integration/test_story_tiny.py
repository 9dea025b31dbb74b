"""The command line with the preset `tiny`: a video of random weights, end to end."""

import pytest
from typer.testing import CliRunner

from echomimic import api
from echomimic.apps.cli.main import app
from echomimic.errors import Cancelled
from echomimic.media import read_video
from echomimic.options import OptionsDict

QUICK: OptionsDict = {"frames": 4, "steps": 1, "size": 64, "device": "cpu"}
pytestmark = pytest.mark.usefixtures("kept_networks")


def test_a_photo_and_a_voice_become_a_video_of_noise(portrait_file, voice_file, tmp_path) -> None:
    output = tmp_path / "out.mp4"
    given = [word for name, value in QUICK.items() for word in (f"--{name}", str(value))]
    result = CliRunner().invoke(
        app, ["animate", str(portrait_file), str(voice_file), "-o", str(output), "--preset", "tiny", *given]
    )
    assert result.exit_code == 0, result.output
    video = read_video(output)
    assert (video.width, video.height, video.fps) == (64, 64, 24)
    assert len(list(video.frames())) == 4


def test_cancel_leaves_no_file(portrait_file, voice_file, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        api.animate(portrait_file, voice_file, output=tmp_path / "out.mp4", preset="tiny", progress=stop, **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_the_plan_is_what_is_made(portrait_file, voice_file, tmp_path) -> None:
    plan = api.plan(portrait_file, voice_file, preset="tiny", **QUICK)
    clip = api.animate(portrait_file, voice_file, output=tmp_path / "out.mp4", preset="tiny", **QUICK)
    assert (plan.frames, plan.width, plan.height, plan.fps) == (clip.frames, clip.width, clip.height, clip.fps)
