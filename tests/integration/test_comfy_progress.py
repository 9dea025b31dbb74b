"""The output of a node during and after a run: previews, the stop button, memory, the report."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from echomimic.apps.comfy import host as hosts
from echomimic.apps.comfy.host import HostProgress, PeakMemory, process_megabytes, show_report
from echomimic.diffusion.unet import UNet
from echomimic.errors import DeviceError
from echomimic.media import read_picture
from echomimic.notes import collect_notes
from echomimic.types import Picture, Previewing
from helpers import comfy_standin
from helpers.comfy_standin import Host, Interrupted, load_nodes


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_networks: None) -> Iterator[Host]:
    yield from comfy_standin.installed(tmp_path, monkeypatch)


@pytest.fixture
def sample(host: Host, head_file: Path) -> Callable[..., str]:
    """Runs EchoMimic Sampler with `tiny`, or the version given, and gives its report."""
    nodes = load_nodes()
    sampler = nodes["EchoMimicSampler"]
    start = {each.id: each.more["default"] for each in sampler.define_schema().inputs if "default" in each.more}
    image = torch.from_numpy(read_picture(head_file).pixels.astype(np.float32) / 255)[None]
    tone = 0.3 * torch.sin(torch.arange(16_000) / 16_000 * 900)

    def run(version: str = "tiny", **changed: Any) -> str:
        (model,) = nodes["EchoMimicLoad"].execute({"version": version}).result
        audio = {"waveform": tone[None, None], "sample_rate": 16_000}
        report: str = sampler.execute(model=model, image=image, audio=audio, **{**start, **changed}).result[1]
        return report

    return run


PICTURE = np.zeros((64, 48, 3), np.uint8)


def full() -> Picture:
    raise MemoryError


def test_previews_while_denoising(host: Host, sample: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr(hosts, "PREVIEW_REST", 0)
    sample(frames=4, steps=3, size=64)
    early = [(done, preview) for done, total, preview in host.reported if preview and done <= total - 4]
    assert [done for done, _ in early] == [1, 2, 3]  # one window a step
    kind, picture, longest = early[0][1]
    assert kind == "JPEG" and picture.size == (64, 64) and longest == 512
    assert early[0][1][1].tobytes() != early[-1][1][1].tobytes()


def test_previews_are_made_only_when_they_are_due(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    bar, made = HostProgress(), []

    def make() -> Picture:
        made.append(clock[0])
        clock[0] += 0.2
        return PICTURE

    assert isinstance(bar, Previewing)
    for _ in range(60):
        bar(1, 60)
        bar.preview(make)
        clock[0] += 0.1
    assert np.diff(made).min() >= 0.2 * (1 + hosts.PREVIEW_REST)
    assert len([reported for reported in host.reported if reported[2]]) == len(made) == 3


def test_a_frame_is_sent_once(host: Host) -> None:
    bar = HostProgress()
    bar.show(PICTURE)
    bar(1, 3)
    bar(2, 3)
    assert [preview is not None for *_, preview in host.reported] == [True, False]


def test_no_memory_for_previews_stops_only_them(host: Host) -> None:
    bar = HostProgress()
    with collect_notes() as notes:
        bar.preview(full)
        bar.preview(lambda: pytest.fail("asked again"))
    assert notes == ["no previews while denoising: the device has no memory left for them"]
    bar.show(PICTURE)
    bar(1, 2)
    assert host.reported[-1][2]


def test_the_stop_button_is_looked_at_before_a_preview_is_made(host: Host) -> None:
    host.stop_after = 0
    with pytest.raises(Interrupted):
        HostProgress().preview(lambda: pytest.fail("made"))


def test_the_report_says_box_and_memory(sample: Callable[..., str]) -> None:
    lines = sample("mesh", frames=3, framing="crop", size=128).splitlines()
    assert lines[0].startswith("3 frames, 0.12 s at 25 fps: as many as were asked for; the voice lasts 25")
    assert lines[2].startswith("box ") and lines[2].endswith("as 128x128 of the picture, 256x256")
    assert lines[3].startswith("peak memory: ") and lines[3].endswith("MB of ComfyUI since it started")


@pytest.mark.parametrize(("number", "shown"), [("7", "7"), ("7.0.0.inner", "7"), ("12:3", "12:3")])
def test_the_report_is_shown_on_the_node_that_people_see(host: Host, number: str, shown: str) -> None:
    show_report(type("Node", (), {"hidden": SimpleNamespace(unique_id=number)}), "two\nlines")
    show_report(type("Node", (), {"hidden": None}), "nowhere")
    assert host.texts == [(shown, "two\nlines")]


def test_the_peak_of_a_device_is_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counts:
        forgotten = False

        def reset_peak_memory_stats(self, _: str) -> None:
            self.forgotten = True

        def max_memory_allocated(self, _: str) -> int:
            return 3 * 2**30

    counts = Counts()
    monkeypatch.setattr(torch, "cuda", counts)
    words = str(PeakMemory("cuda:0"))
    assert counts.forgotten and words.startswith("peak memory: 3,072 MB of cuda:0 in this run, ")
    assert process_megabytes() > 50
    for other in ("cpu", "mps", "privateuseone:0"):  # which count nothing
        assert "in this run" not in str(PeakMemory(other))


def test_shorter_windows_where_memory_runs_out_are_in_the_report(
    sample: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = UNet.forward

    def small(self: UNet, latents: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        if latents.shape[-4] > 8:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, latents, *rest, **more)

    monkeypatch.setattr(UNet, "forward", small)
    report = sample(frames=14, steps=1, size=64)
    assert report.startswith("14 frames") and "note: windows of 12 frames do not fit" in report


def test_memory_that_only_the_host_knows_of_is_explained(
    sample: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise MemoryError("allocation on another backend")

    monkeypatch.setattr(UNet, "forward", fails)
    with pytest.raises(DeviceError, match="lower context_frames"):
        sample(frames=4, steps=1, size=64)
