"""Segments that are stored and copied, and the work folder: which work is used, and when it is deleted."""

import errno
import os
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from echomimic import files, work
from echomimic.errors import OutputError
from echomimic.files import lock_file, work_path
from echomimic.media import speech_from_samples, write_clip
from echomimic.media.segments import Segment, frame_ranges, segment_count, segment_of, segment_seconds, segment_start
from echomimic.notes import collect_notes
from echomimic.options import Options, WorkOptions
from echomimic.provenance import RenderRecord, mark_frames, new_record
from echomimic.provenance.mark import SLOT
from echomimic.work import WorkFolder, open_work
from helpers.media_samples import moving, tone

RATES = [25.0, 24000 / 1001, 30000 / 1001, 12.5, 1.0, 120.0]


@pytest.mark.parametrize("fps", RATES)
def test_segments_are_whole_seconds_and_start_with_a_slot_of_the_mark(fps: float) -> None:
    starts = [segment_start(number, fps) for number in range(200)]
    for number, (start, end) in enumerate(pairwise(starts)):
        assert end - start >= 9
        assert start / fps == pytest.approx(number * segment_seconds(fps), abs=1 / fps)
        assert [segment_of(frame, fps) for frame in (start, end - 1)] == [number, number]
        slots = [int(frame / fps / SLOT + 1e-6) for frame in (start - 1, start)]
        assert number == 0 or slots[0] < slots[1]
    assert [segment_count(frames, fps) for frames in (1, starts[3], starts[3] + 1)] == [1, 3, 4]
    assert frame_ranges([True, True, False, True], starts[3] + 5, fps) == [(0, starts[2]), (starts[3], starts[3] + 5)]


def test_a_mark_that_begins_at_a_segment_is_the_same() -> None:
    fps = 30000 / 1001
    frames = [np.random.default_rng(index).integers(0, 255, (64, 64, 3), np.uint8) for index in range(40)]
    first = segment_start(1, fps)
    whole = list(mark_frames(iter(frames), fps, b"abcdef"))
    np.testing.assert_array_equal(whole[first:], list(mark_frames(iter(frames[first:]), fps, b"abcdef", first)))


class MemoryStore:
    """Keeps segments, and gives back those in `given`."""

    token = "0"

    def __init__(self, folder: Path) -> None:
        self.folder, self.given = folder, set[int]()

    def load(self, number: int) -> Segment | None:
        return Segment.read(self.folder / f"{number}.npz") if number in self.given else None

    def save(self, number: int, segment: Segment) -> None:
        (self.folder / f"{number}.npz").write_bytes(segment.to_bytes())


def content(path: Path) -> list[object]:
    """The bytes of the files, or the packets of a webm, whose streams have random numbers."""
    if path.is_dir():
        return [(each.name, each.read_bytes()) for each in sorted(path.iterdir())]
    if path.suffix != ".webm":
        return [path.read_bytes()]
    with av.open(str(path)) as container:
        return [(packet.stream.index, packet.pts, packet.dts, bytes(packet)) for packet in container.demux()]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "live.mp4", "a.gif", "pngs"])
def test_a_video_has_the_same_bytes_whichever_segments_were_stored(tmp_path: Path, name: str) -> None:
    fps, count, speech = 30000 / 1001, 92, speech_from_samples(tone(3.1), 16000)
    frames = list(moving(count, 65, 97))
    live = tmp_path / "growing.mp4" if name == "live.mp4" else None
    store = MemoryStore(tmp_path)

    def written(given: set[int]) -> tuple[int, list[object], bytes]:
        store.given = given
        wanted = frame_ranges([number not in given for number in range(4)], count, fps)
        missing = iter([frame for first, last in wanted for frame in frames[first:last]])
        number = write_clip(tmp_path / name, missing, fps, speech, {"title": "x"}, live, None, store)
        return number, content(tmp_path / name), live.read_bytes() if live else b""

    whole = written(set())
    assert whole[0] == count
    for given in ({0}, {0, 1, 2, 3}, {1, 3}, {2}):
        assert written(given) == whole


@pytest.mark.parametrize("count", [1, 2, 3, 26, 28])
def test_a_last_segment_may_be_short(tmp_path: Path, count: int) -> None:
    store = MemoryStore(tmp_path)
    assert write_clip(tmp_path / "a.mp4", moving(count, 32, 32), 25, None, {}, None, None, store) == count
    store.given = {0}
    again = write_clip(tmp_path / "b.mp4", iter([*moving(count, 32, 32)][25:]), 25, None, {}, None, None, store)
    assert (again, (tmp_path / "b.mp4").read_bytes()) == (count, (tmp_path / "a.mp4").read_bytes())


RECORD = new_record("mesh", Options(), (32, 32), 60, 25.0, portrait="a" * 64, speech="b" * 64, weights={"vae": "c"})
SEGMENT = Segment([(b"data", 0, -2, True)], 25, (32, 32))


def opened(output: Path, record: RenderRecord = RECORD, **options: bool) -> tuple[WorkFolder | None, list[str]]:
    """The work folder and the notes of opening it."""
    with collect_notes() as notes:
        return open_work(output, record, WorkOptions(**options)), list(notes)


def cut_off(output: Path, numbers: tuple[int, ...] = (0, 1)) -> Path:
    """Leave the work of a run that was killed after it had finished some segments."""
    folder, _ = opened(output)
    assert folder is not None
    for number in numbers:
        folder.save(number, SEGMENT)
    folder._lock.close()
    return folder.path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.mp4"


def test_the_same_command_resumes_and_the_folder_is_deleted_at_the_end(output: Path) -> None:
    path = cut_off(output)
    folder, notes = opened(output, resume=True)
    assert notes == ["resumes at frame 50 of 60"]
    assert folder is not None and folder.missing() == [(50, 60)] and folder.load(0) == SEGMENT
    assert str(output.parent) not in (path / "journal.json").read_text()
    with folder:
        folder.save(2, SEGMENT)
    assert not path.exists()


def test_a_failure_keeps_what_is_finished_and_only_that(output: Path) -> None:
    for finished in (False, True):
        folder, _ = opened(output)
        assert folder is not None
        with collect_notes() as notes, pytest.raises(KeyboardInterrupt), folder:
            if finished:
                folder.save(0, SEGMENT)
            raise KeyboardInterrupt
        assert work_path(output).exists() == finished
        assert [note.code for note in notes] == ["work_kept"] * finished


def test_a_damaged_segment_is_made_again(output: Path) -> None:
    path = cut_off(output)
    data = bytearray((path / "segment-000001.npz").read_bytes())
    data[data.index(b"data", 100)] ^= 1
    (path / "segment-000001.npz").write_bytes(data)
    folder, notes = opened(output)
    assert folder is not None and folder.missing() == [(25, 60)]
    assert notes == ["resumes at frame 25 of 60"]


def changed(**values: object) -> RenderRecord:
    return replace(RECORD, **values)  # type: ignore[arg-type]


OTHER = {
    "another portrait": changed(portrait="d" * 64),
    "another motion": changed(motion="d" * 64),
    "`seed` 3 instead of 0": changed(options={**RECORD.options, "seed": 3}),
    "echomimic 9 instead of": changed(version="9"),
    "numpy 9 instead of": changed(libraries={**RECORD.libraries, "numpy": "9"}),
    "other weights (vae)": changed(weights={"vae": "d"}),
    "is damaged": None,
    "journal of the work for out.mp4 is damaged": None,
}


@pytest.mark.parametrize(("what", "record"), OTHER.items(), ids=OTHER)
def test_other_work_is_not_used_and_the_line_names_what_differs(
    output: Path, what: str, record: RenderRecord | None
) -> None:
    path = cut_off(output)
    if record is None:
        whole = (path / "journal.json").read_text()
        token = work._read_journal(path).token
        (path / "journal.json").write_text('{"record": 1' if what == "is damaged" else whole.replace(token, "../../a"))
    with pytest.raises(OutputError, match="leave out `resume`") as refused:
        opened(output, record or RECORD, resume=True)
    assert what in str(refused.value) and "\n" not in str(refused.value)
    folder, notes = opened(output, record or RECORD)
    assert len(notes) == 1 and what in notes[0] and notes[0].endswith("it starts over")
    assert folder is not None and folder.missing() == [(0, 60)]


def test_nothing_to_resume_and_a_folder_in_use(output: Path) -> None:
    with pytest.raises(OutputError, match="there is no unfinished work for out"):
        opened(output, resume=True)
    lock = lock_file(cut_off(output) / "lock")
    assert lock is not None
    folder, notes = opened(output)
    assert folder is None and notes == ["another process is rendering out.mp4: this run keeps no work folder"]
    lock.close()


def test_a_disk_error_gives_one_note(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_path(output).write_text("a file in the place of the folder")
    folder, notes = opened(output)
    assert folder is None and len(notes) == 1 and "if this render is interrupted, it starts over" in notes[0]
    work_path(output).unlink()

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder, _ = opened(output)
    assert folder is not None
    folder.save(0, SEGMENT)
    monkeypatch.setattr(work, "sync_file", full)
    with collect_notes() as said:
        folder.save(1, SEGMENT)
        folder.save(2, SEGMENT)
    assert len(said) == 1 and "No space left on device" in said[0]
    assert sorted(path.name for path in folder.path.iterdir() if path.suffix == ".npz") == ["segment-000000.npz"]


@pytest.mark.parametrize(("free", "kept"), [(150_000, [0, 1]), (60_000, []), (20_000, [0, 1])])
def test_segments_leave_the_room_that_the_video_needs(
    output: Path, monkeypatch: pytest.MonkeyPatch, free: int, kept: list[int]
) -> None:
    """Of three segments, two are kept if the disk has room for both, or not even for the video."""
    folder, _ = opened(output)
    assert folder is not None
    folder.save(0, SEGMENT)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with collect_notes() as said:
        folder.save(1, SEGMENT)
    assert [path.name for path in sorted(folder.path.glob("*.npz"))] == [f"segment-00000{n}.npz" for n in kept]
    assert [note.code for note in said] == ["no_work_folder"] * (not kept)


def test_old_work_is_deleted_except_kept_work(tmp_path: Path) -> None:
    paths = [cut_off(tmp_path / name) for name in ("old.mp4", "new.mp4", "kept.mp4")]
    folder, _ = opened(tmp_path / "kept.mp4", keep=True)
    assert folder is not None
    with folder:
        pass
    part = files.part_path(paths[0], ".mp4", work._read_journal(paths[0]).token)
    part.touch()
    for path in (paths[0], paths[2]):
        for each in (*path.iterdir(), path):
            os.utime(each, (time.time() - 15 * 86_400,) * 2)
    opened(tmp_path / "another.mp4")
    assert [path.exists() for path in (*paths, part)] == [False, True, True, False]


def test_the_name_of_a_folder_fits(tmp_path: Path) -> None:
    assert len(work_path(tmp_path / ("ü" * 125 + ".mp4")).name) < 100
    assert work_path(tmp_path / "a.mp4").name == ".echomimic-work-a.mp4"
