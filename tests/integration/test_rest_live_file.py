"""The file behind the live stream: fragments as frames come, and at the end the packets of an ordinary clip."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from echomimic.errors import OutputError
from echomimic.media import read_speech, write_clip
from echomimic.types import Picture

FPS, SIZE = 25.0, 96


def frames(count: int, seen: list[int] | None = None, live: Path | None = None) -> Iterator[Picture]:
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    for index in range(count):
        yield np.roll(noise, index, axis=1)
        if seen is not None and live is not None:
            seen.append(live.stat().st_size)


def packets(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [(p.stream.type, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.dts is not None]


def in_order(found: list[Any]) -> list[Any]:
    return sorted(found, key=lambda packet: (packet[0], packet[2]))


def test_one_encode_two_files(tmp_path: Path, voice_file: Path) -> None:
    speech, tags = read_speech(voice_file), {"title": "x (AI-generated)", "comment": "made by echomimic"}
    out, live, plain = tmp_path / "out.mp4", tmp_path / "live.mp4", tmp_path / "plain.mp4"
    assert write_clip(out, frames(60), FPS, speech, tags, live) == 60
    assert write_clip(plain, frames(60), FPS, speech, tags) == 60
    assert packets(out) == packets(plain), "the copy is the clip that would have been written without it"
    assert in_order(packets(live)) == in_order(packets(out)), "and so are the fragments"
    raw = out.read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")
    assert b"moof" not in raw
    assert live.read_bytes().count(b"moof") >= 60 / FPS / 0.2 - 1
    for path in (out, live):
        with av.open(str(path)) as container:
            assert container.metadata["title"] == tags["title"]
            assert container.start_time == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.mp4", "out.mp4", "plain.mp4"]


def test_the_live_file_grows_while_frames_are_rendered(tmp_path: Path, voice_file: Path) -> None:
    live, sizes = tmp_path / "live.mp4", list[int]()
    write_clip(tmp_path / "out.mp4", frames(75, sizes, live), FPS, read_speech(voice_file), {}, live)
    assert sizes[0] == 0
    assert 0 < sizes[30] < sizes[50] < sizes[74]


def test_a_failure_leaves_no_clip(tmp_path: Path, voice_file: Path) -> None:
    def broken() -> Iterator[Picture]:
        yield from frames(40)
        raise ZeroDivisionError

    live = tmp_path / "live.mp4"
    with pytest.raises(ZeroDivisionError):
        write_clip(tmp_path / "out.mp4", broken(), FPS, read_speech(voice_file), {}, live)
    assert [path.name for path in tmp_path.iterdir()] == ["live.mp4"]
    with pytest.raises(OutputError):
        write_clip(tmp_path / "out.mp4", frames(2), FPS, None, {}, tmp_path / "missing" / "live.mp4")
