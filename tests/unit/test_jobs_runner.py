"""Running jobs in this process: kept engines, limits, previews, and resuming what was interrupted."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echomimic.apps.batch import BatchRow, BatchWorker
from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.jobs.request import ANIMATION, JobSettings
from echomimic.apps.jobs.runner import EngineCache, JobRequest, run_job
from echomimic.apps.jobs.worker import MessageWriter, WorkerProgress, perform
from echomimic.cancellation import cancellable
from echomimic.errors import Cancelled, InputError
from echomimic.media import speech_from_samples
from echomimic.media.segments import Segment
from echomimic.mesh.speech_curves import predict_curves
from echomimic.options import Options
from echomimic.presets import Preset
from echomimic.work import WorkFolder


def request(folder: Path, portrait: Path, voice: Path, **changes: object) -> JobRequest:
    options = {"frames": 2, "size": 64, "device": "cpu", "steps": 1}
    given = {"portrait": portrait, "speech": voice, "preset": "tiny", "options": options, **changes}
    return JobRequest(folder / "out.mp4", **given)  # type: ignore[arg-type]


def test_three_jobs_of_one_preset_build_its_networks_once(
    tmp_path: Path, head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch, kept_networks: None
) -> None:
    if find_spec("torch") is None or find_spec("diffusers") is None:
        pytest.skip("torch and diffusers are not installed")
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
    run_job(request(tmp_path, head_file, voice_file, preset="mesh", options={"frames": 2, "size": 64}), engines=engines)
    run_job(request(tmp_path, head_file, voice_file), engines=engines)
    assert len(built) == 2, "another preset releases the engine before"


def test_a_job_is_cancelled_while_its_voice_is_read(tmp_path: Path, head_file: Path, voice_file: Path) -> None:
    """Nothing has been prepared or reported by then, so a voice of any length is left within a second of it."""
    progress, reports = WorkerProgress(MessageWriter(StringIO()), 0), list[str]()
    progress.stop.set()
    for kind in ("animation", "track"):
        asked = request(tmp_path, head_file, voice_file, preset="mesh", kind=kind, options={})
        with pytest.raises(Cancelled), pytest.MonkeyPatch.context() as patch:
            patch.setattr("echomimic.mesh.engine.MeshEngine.prepare", lambda *_, **__: reports.append("prepared"))
            run_job(asked, progress)
    assert reports == []


def test_long_curves_are_cancelled_between_pieces() -> None:
    speech, asked = speech_from_samples(np.random.default_rng(0).normal(0, 0.1, 40 * 16_000), 16_000), [0]

    def check() -> None:
        asked[0] += 1

    with cancellable(check):
        predict_curves(speech, Options(), 1000)
    assert asked[0] > 40, "once a second of the voice, and for each movement"


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


LONG = {"frames": 44, "fps": 10, "size": 64}
"""Options of a mesh render of five segments, which has a work folder."""


@contextmanager
def cutting_off() -> Iterator[None]:
    """Cut a render off when its third segment is stored."""
    save = WorkFolder.save

    def stop(self: WorkFolder, number: int, segment: Segment) -> None:
        save(self, number, segment)
        if number == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WorkFolder, "save", stop)
        yield


def test_an_interrupted_job_is_resumed_in_its_folder(
    tmp_path: Path, head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the worker changes to the folder of its job
    queue = JobQueue(JobSettings(tmp_path / "data", spare_disk=0))

    def submit() -> Path:
        upload = queue.files.new_upload()
        shutil.copy(head_file, upload / "portrait")
        shutil.copy(voice_file, upload / "speech")
        asked = {"format": "mp4", "preset": "mesh", "options": LONG}
        return queue.files.of(asyncio.run(queue.submit(ANIMATION, "", asked, upload, None, "")).id)

    def attempt() -> list[str]:
        """Run the next job; return the notes of its result."""
        job, said = queue.store.claim(), StringIO()
        assert job is not None
        queue.files.prepare(job)
        writer = MessageWriter(said)
        perform(queue._order(job), writer, WorkerProgress(writer, 0), EngineCache())
        queue.store.finish(job.id, "succeeded")
        end = json.loads(said.getvalue().splitlines()[-1])
        return [note["text"] for note in end["result"]["notes"]]

    whole = submit()
    assert not any("resumes" in note for note in attempt())
    folder = submit()
    with cutting_off():
        attempt()
    assert not (folder / "result.mp4").exists()
    queue.store.requeue_interrupted(20, {})
    assert "resumes at frame 30 of 44" in attempt()
    assert (folder / "result.mp4").read_bytes() == (whole / "result.mp4").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"portrait", "speech", "result.mp4", "live-2.mp4"}
    queue._recover()  # as a server starts that was killed after it had recorded the end of the job
    assert [path.name for path in folder.iterdir()] == ["result.mp4"]
    queue.store.close()
    queue.files.close()


def test_an_interrupted_row_of_a_batch_is_resumed(tmp_path: Path, head_file: Path, voice_file: Path) -> None:
    row = BatchRow(1, str(head_file), str(voice_file), "clips/1.mp4", preset="mesh", options=LONG)
    worker = BatchWorker(tmp_path)
    with cutting_off():
        worker.run(json.dumps(asdict(row)))
    result = json.loads(worker.run(json.dumps(asdict(row))))
    assert result["status"] == "made" and "resumes at frame 30 of 44" in result["notes"]
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["1.mp4"]
