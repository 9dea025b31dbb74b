"""Prepare videos in a worker: one class, called by the processes of a pool and by the actors of Ray."""

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from echomimic.checkpoints import checksum
from echomimic.errors import OutputError
from echomimic.parallel import MOST_ATTEMPTS, Worker
from echomimic.train.diffusion.manifest import Row, Source, parse_row, write_rows
from echomimic.train.diffusion.prepare.process import clip_id, describe, prepare_video
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.rights import Recording

RECORDS = "sources"
"""Folder of a data set with the rows of each video, which are written when all of its clips are complete."""


@dataclass(frozen=True)
class Item:
    """A video to prepare: its path, what rows call it, and what `rights.toml` says about it."""

    path: str
    name: str
    recording: Recording


@dataclass(frozen=True)
class Outcome:
    """The rows of a video; `took` is CPU seconds of work, `seconds` the length of the video, `known` if it was prepared
    before."""

    name: str
    rows: list[Row]
    took: float = 0.0
    seconds: float = 0.0
    known: bool = False


_ITEM, _OUTCOME = TypeAdapter(Item), TypeAdapter(Outcome)


def encode(value: Item | Outcome) -> str:
    """An item or an outcome as JSON."""
    return json.dumps(asdict(value))


def decode_outcome(text: str) -> Outcome:
    """An outcome from the JSON that `Prepare` returned."""
    return _OUTCOME.validate_json(text)


class Prepare(Worker):
    """Prepares videos into `folder`, except those that were prepared before with the same content and settings."""

    def __init__(self, folder: str, settings: PrepareSettings) -> None:
        self._folder, self._settings = Path(folder), settings

    def run(self, text: str) -> str:
        """Prepare an item given as JSON; return its outcome as JSON.

        Raises OutputError if nothing can be written; any other failure becomes a row.
        """
        began = time.process_time()
        outcome = self._prepared(_ITEM.validate_json(text))
        return encode(replace(outcome, took=time.process_time() - began))

    def crashed(self, text: str) -> str:
        """The outcome of a video that kills its worker, as JSON."""
        item = _ITEM.validate_json(text)
        return encode(Outcome(item.name, [self._failed(item, "crash", f"{MOST_ATTEMPTS} workers")]))

    def _prepared(self, item: Item) -> Outcome:
        try:
            record = self._record(checksum(Path(item.path)))
            known = record.is_file()
            rows = _read_record(record) if known else self.work(item)
            if not known:
                write_rows(record, rows)
        except OutputError:
            raise
        except Exception as fault:  # of any library: one bad video must not stop the others
            why = " ".join(str(fault).split())
            return Outcome(item.name, [self._failed(item, "error", f"{type(fault).__name__}: {why}"[:200])])
        seconds = max((row.source.stop for row in rows), default=0.0)
        return Outcome(item.name, [_renamed(row, item) for row in rows], 0.0, seconds, known)

    def work(self, item: Item) -> list[Row]:
        """Rows of a video that was not prepared before."""
        return prepare_video(Path(item.path), self._settings, item.recording, self._folder, item.name)

    def _record(self, digest: str) -> Path:
        key = hashlib.sha256(f"{digest}:{self._settings.digest()}".encode()).hexdigest()[:32]
        return self._folder / RECORDS / key[:2] / f"{key}.jsonl"

    def _failed(self, item: Item, reason: str, detail: str) -> Row:
        source = Source(item.name, "", item.recording.url)
        name = clip_id(Source(item.name, item.path), self._settings, 0)
        kind, digest = self._settings.kind, self._settings.digest()
        row = Row(name, kind, source, item.recording.rights, digest, dropped=reason, detail=detail)
        return describe(row, item.recording)


def _renamed(row: Row, item: Item) -> Row:
    """A row with the name and rights that the video has now."""
    return describe(replace(row, source=replace(row.source, name=item.name)), item.recording)


def _read_record(path: Path) -> list[Row]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [parse_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]
