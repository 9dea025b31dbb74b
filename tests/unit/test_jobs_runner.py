"""Running jobs in this process: kept engines, limits, previews."""

from pathlib import Path
from typing import Any

import pytest

from echomimic.apps.jobs.runner import EngineCache, JobRequest, run_job
from echomimic.errors import Cancelled, InputError
from echomimic.presets import Preset


def request(folder: Path, portrait: Path, voice: Path, **changes: object) -> JobRequest:
    options = {"frames": 2, "device": "cpu", "steps": 1}
    given = {"portrait": portrait, "speech": voice, "preset": "tiny", "options": options, **changes}
    return JobRequest(folder / "out.mp4", **given)  # type: ignore[arg-type]


def test_three_jobs_of_one_preset_build_its_networks_once(
    tmp_path: Path, head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch, kept_networks: None
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    from echomimic.diffusion import networks

    built = []

    def build(preset: Preset, *given: Any) -> networks.Networks:
        built.append(preset)
        return networks.tiny_networks(preset, *given)

    monkeypatch.setattr("echomimic.diffusion.engine.tiny_networks", build)
    engines = EngineCache()
    clips = [run_job(request(tmp_path, head_file, voice_file), engines=engines) for _ in range(3)]
    assert [clip.frames for clip in clips] == [2, 2, 2]
    assert len(built) == 1
    run_job(request(tmp_path, head_file, voice_file, preset="mesh", options={"frames": 2}), engines=engines)
    run_job(request(tmp_path, head_file, voice_file), engines=engines)
    assert len(built) == 2, "another preset releases the engine before"


class Previews:
    """A progress that keeps what it is shown."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.done = 0

    def __call__(self, done: int, total: int) -> None:
        self.done = done

    def preview(self, make) -> None:
        self.shapes.append(make().shape)


def test_previews_are_taken_from_the_frames(tmp_path: Path, head_file: Path, voice_file: Path) -> None:
    progress = Previews()
    asked = request(tmp_path, head_file, voice_file, preset="mesh", options={"frames": 3, "size": 128})
    clip = run_job(asked, progress, engines=EngineCache())
    assert progress.shapes == [(clip.height, clip.width, 3)] * 3
    assert progress.done == 3


def test_inputs_past_the_limits_are_refused(tmp_path: Path, head_file: Path, voice_file: Path) -> None:
    with pytest.raises(InputError, match="too many pixels"):
        run_job(request(tmp_path, head_file, voice_file, max_pixels=100))
    with pytest.raises(InputError, match="at most"):
        run_job(request(tmp_path, head_file, voice_file, max_seconds=0.01))


def test_a_progress_stops_a_job(tmp_path: Path, head_file: Path, voice_file: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        run_job(request(tmp_path, head_file, voice_file, preset="mesh", options={"frames": 3, "size": 128}), stop)
    assert list(tmp_path.glob("*.mp4")) == []
