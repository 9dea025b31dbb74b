"""The work folder of a render: its finished parts and a journal, so that the same command resumes after a crash.

It is a hidden folder beside the output. Every file in it is written under another name, synced and renamed. The journal
holds the render record; work of another record is not used.
"""

import errno
import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import Self

from echomimic.errors import OutputError
from echomimic.files import WORK, Lock, lock_file, part_path, remove, sync_file, work_path
from echomimic.media.segments import FrameRanges, Segment, frame_ranges, segment_count, segment_of, segment_start
from echomimic.notes import note
from echomimic.options import WorkOptions
from echomimic.provenance import RenderedPart, RenderRecord, differing_inputs, differing_versions

KEEP_DAYS = 14.0
"""Days after which the work of an interrupted render is deleted."""
_JOURNAL, _LOCK = "journal.json", "lock"
_SOUND = 24_000
"""Bytes of sound in a second of video, at most."""
_PARTS = (".npz", ".safetensors")


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Journal:
    """The journal of a work folder: the record of the render, the output's suffix, and whether the folder is kept.

    `token` is a part of the name of the unfinished file beside it. `is_pending` is true while the last of the record's
    parts is being rendered again.
    """

    record: RenderRecord
    suffix: str
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    kept: bool = False
    is_pending: bool = False


class WorkFolder:
    """The finished parts of one render. If a part cannot be written, no more are kept, and the render continues."""

    def __init__(self, path: Path, journal: Journal, lock: Lock) -> None:
        self.path, self.journal = path, journal
        self._lock, self._is_usable = lock, True
        self._saved: dict[int, int] = {}  # bytes of the segments that this run has kept
        self.segments = segment_count(journal.record.frames, journal.record.fps)
        self._stored = {number for number in range(self.segments) if Segment.read(self._segment(number))}

    @property
    def token(self) -> str:
        """The part of the unfinished file's name that identifies this folder."""
        return self.journal.token

    @property
    def record(self) -> RenderRecord:
        """The record of the video with all its parts."""
        return self.journal.record

    @property
    def epoch(self) -> int:
        """How many times a part was rendered again: the kept data of an engine belongs to one of these runs."""
        return len(self.record.parts)

    @property
    def span(self) -> tuple[int, int] | None:
        """The frames that are being rendered again."""
        part = self.record.parts[-1] if self.journal.is_pending else None
        return None if part is None else (part.first, part.last)

    def render_again(self, part: RenderedPart) -> None:
        """Drop the segments of a part, and record that it is rendered again."""
        fps = self.record.fps
        for number in range(segment_of(part.first, fps), segment_of(part.last - 1, fps) + 1):
            remove(self._segment(number))
            self._stored.discard(number)
        record = replace(self.record, parts=[*self.record.parts, part])
        self.rewrite(replace(self.journal, record=record, is_pending=True, kept=True))

    def rewrite(self, journal: Journal) -> None:
        """Replace the journal."""
        self.journal = journal
        self.write(_JOURNAL, TypeAdapter(Journal).dump_json(journal))

    def missing(self) -> FrameRanges:
        """The frames that have to be rendered."""
        record = self.journal.record
        wanted = [number not in self._stored for number in range(self.segments)]
        return frame_ranges(wanted, record.frames, record.fps)

    def load(self, number: int) -> Segment | None:
        """Load a finished segment."""
        return Segment.read(self._segment(number)) if number in self._stored else None

    def save(self, number: int, segment: Segment) -> None:
        """Keep a finished segment; if the disk would then lack room for the video, delete the kept segments."""
        content = segment.to_bytes()
        if self._is_usable and self._takes_room(number, len(content)):
            self._is_usable = False
            for given_up in self._saved:
                remove(self._segment(given_up))
            _note_unusable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self.write(self._segment(number).name, content)
        self._saved[number] = len(content)

    def _takes_room(self, number: int, size: int) -> bool:
        """Whether the disk has room for the rest of the video, but not for its segments too."""
        with suppress(OSError):
            free = shutil.disk_usage(self.path).free
            rest = (size + _SOUND) * (self.segments - number)
            return free < 2 * rest and rest <= free + sum(self._saved.values())
        return False

    def _segment(self, number: int) -> Path:
        return self.path / f"segment-{number:06d}.npz"

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file into the folder. After a disk error nothing more is written."""
        if not self._is_usable:
            return
        part = self.path / f"{name}.part"
        try:
            part.write_bytes(content)
            sync_file(part)
            part.replace(self.path / name)
        except OSError as fault:
            self._is_usable = False
            remove(part)
            _note_unusable(fault)

    def remove(self, name: str) -> None:
        """Delete a file of the folder."""
        remove(self.path / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        """Keep the folder if the render was interrupted after it had finished something, or if the user keeps it."""
        has_parts = self.path.is_dir() and any(path.suffix in _PARTS for path in self.path.iterdir())
        if kind is None and self.journal.is_pending:
            self.rewrite(replace(self.journal, is_pending=False))
        self._lock.close()
        if not has_parts or (kind is None and not self.journal.kept):
            remove(self.path)
        elif kind is not None:
            note("work_kept", "the finished part is kept: the same command resumes from there")


def open_work(output: Path, record: RenderRecord, options: WorkOptions) -> WorkFolder | None:
    """Open the work folder of a render: that of an interrupted run of the same command, or a new one.

    None, after a note, if the folder cannot be created, or another process uses it. With `resume` or a span, raises
    OutputError if there is no work to use.
    """
    path = work_path(output)
    remove_old(path.parent)
    wanted = _Wanted(output.name, record, options)
    try:
        if path.is_dir():
            lock = lock_file(path / _LOCK)
            if lock is None:
                wanted.refuse(f"another process is rendering {output.name}", "this run keeps no work folder")
                return None
            found = wanted.use(path, lock)
            if found is not None:
                return found
            remove(path)
        elif options.resume or options.is_span:
            wanted.refuse(f"there is no {'kept' if options.is_span else 'unfinished'} work for {output.name}", "")
        path.mkdir(mode=0o700)
        lock = lock_file(path / _LOCK)
        assert lock is not None  # the folder is new
        made = WorkFolder(path, Journal(record, output.suffix.lower(), secrets.token_hex(4), options.keep), lock)
        made.rewrite(made.journal)
    except OSError as fault:
        _note_unusable(fault)
        return None
    return made


@dataclass(frozen=True)
class _Wanted:
    """A render that needs a work folder: the name and the record of its output, and the user's options."""

    name: str
    record: RenderRecord
    options: WorkOptions

    def use(self, path: Path, lock: Lock) -> WorkFolder | None:
        """The work folder if it can be used; otherwise None, after a note, and the lock is released."""
        try:
            try:
                work = WorkFolder(path, _read_journal(path), lock)
            except (OSError, ValidationError):
                self.refuse(f"the journal of the work for {self.name} is damaged", "it starts over")
            else:
                if self.options.is_span:
                    self._begin_span(work)
                    return work
                differences = self._differences(work.record)
                if not differences:
                    return self._go_on(work)
                self.refuse(f"the work for {self.name} has {', '.join(differences)}", "it starts over")
        except BaseException:
            lock.close()
            raise
        lock.close()
        return None

    def _differences(self, found: RenderRecord) -> list[str]:
        """Describe each difference between the record in the folder and that of the render."""
        common = found.libraries.keys() & self.record.libraries.keys()  # a server may have loaded more than it uses
        before, now = (
            replace(each, libraries={name: each.libraries[name] for name in common}) for each in (found, self.record)
        )
        parts = ["parts that were rendered again"] if found.parts and not self.options.is_span else []
        return [*differing_inputs(before, now), *differing_versions(before, now), *parts]

    def _go_on(self, work: WorkFolder) -> WorkFolder:
        """Report where the render resumes."""
        work.rewrite(replace(work.journal, kept=work.journal.kept or self.options.keep))
        missing, frames = work.missing(), work.record.frames
        first = missing[0][0] if missing else frames
        if first:
            note("render_resumed", "resumes at frame {frame} of {frames}", frame=first, frames=frames)
        return work

    def _begin_span(self, work: WorkFolder) -> None:
        """Drop the segments of the span, unless an interrupted run did so already. Raises OptionError, OutputError."""
        record, fps = self.record, self.record.fps
        start, end = self.options.span(record.frames / fps)
        first, last = (
            segment_of(min(round(at * fps), record.frames) - 1 * is_end, fps) for at, is_end in ((start, 0), (end, 1))
        )
        frames = segment_start(first, fps), min(segment_start(last + 1, fps), record.frames)
        part = RenderedPart(*frames, record.options, record.motion, record.edits)
        found = replace(work.record, options=record.options, motion=record.motion)
        differences = self._differences(found)
        if (found.size, found.frames, found.fps) != (record.size, record.frames, record.fps):
            differences.append("another size, length or frame rate")
        is_same = work.journal.is_pending and _plain(work.record.parts[-1]) == _plain(part)
        if not is_same and work.missing():
            differences.append("frames that are not finished")
        if differences:
            self.refuse(f"the work for {self.name} has {', '.join(differences)}", "")
        note(
            "span_of_segments",
            "frames {first} to {last} are rendered again: a video is cut at whole seconds",
            first=frames[0],
            last=frames[1] - 1,
        )
        if not is_same:
            work.render_again(part)

    def refuse(self, reason: str, then: str) -> None:
        """Raise OutputError if the run needs finished work, else note why the work is not used."""
        if self.options.is_span:
            raise OutputError(
                f"{reason}; expected the work of a finished video: render it with `keep_work` first",
                code="no_kept_work",
            )
        if self.options.resume:
            raise OutputError(
                f"{reason}; expected work that this command left when it was interrupted: leave out `resume` to begin",
                code="nothing_to_resume",
            )
        note("work_not_used", "{reason}: {then}", reason=reason, then=then)


def _plain(part: RenderedPart) -> object:
    return TypeAdapter(RenderedPart).dump_python(part, mode="json")


def _read_journal(path: Path) -> Journal:
    return TypeAdapter(Journal).validate_json((path / _JOURNAL).read_bytes())


def _note_unusable(fault: OSError) -> None:
    note(
        "no_work_folder",
        "finished parts cannot be kept beside the output ({reason}): if this render is interrupted, it starts over",
        reason=fault.strerror or str(fault),
    )


def remove_old(folder: Path, days: float = KEEP_DAYS) -> None:
    """Delete the work folders in `folder` that were not used for `days` days, except those that the user keeps."""
    before = time.time() - days * 86_400
    for path in folder.glob(f"{WORK}*"):
        with suppress(OSError):
            if max(each.stat().st_mtime for each in (path, *path.iterdir())) < before and not _is_kept(path):
                _remove_with_part(path)


def _is_kept(path: Path) -> bool:
    try:
        return _read_journal(path).kept
    except (OSError, ValidationError):
        return False


def _remove_with_part(path: Path) -> None:
    """Delete a work folder and the unfinished file beside it."""
    with suppress(OSError, ValidationError):
        journal = _read_journal(path)
        remove(part_path(path, journal.suffix, journal.token))
    shutil.rmtree(path, ignore_errors=True)
