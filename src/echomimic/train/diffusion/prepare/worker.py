"""Prepare videos in a worker: one class, called by the processes of a pool and by the actors of Ray."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from echomimic.checkpoints import checksum
from echomimic.errors import OutputError
from echomimic.media.output import writing
from echomimic.train.diffusion.manifest import Row, Source, parse_row, write_rows
from echomimic.train.diffusion.prepare.process import clip_id, describe, prepare_video
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.rights import Recording

MOST_ATTEMPTS = 2
"""A video that has killed its worker so often is dropped."""
RECORDS = "sources"
"""Folder of a data set with the rows of each video, written when all of its clips are."""


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


Arguments = tuple[str, PrepareSettings, str]
"""Arguments of `Prepare`: folder, settings, name of the run."""
_ITEM, _OUTCOME = TypeAdapter(Item), TypeAdapter(Outcome)


def encode_item(item: Item) -> str:
    """An item as JSON."""
    return json.dumps(asdict(item))


def decode_outcome(text: str) -> Outcome:
    """An outcome from the JSON that `Prepare` returned."""
    return _OUTCOME.validate_json(text)


class Prepare:
    """Prepares videos into `folder`; `run` names this run, in which attempts are counted in files.

    A video that was prepared before with the same content and settings is not prepared again.
    """

    def __init__(self, folder: str, settings: PrepareSettings, run: str) -> None:
        self._folder, self._settings, self._attempts = Path(folder), settings, attempts_folder(Path(folder), run)

    def __call__(self, batch: dict[str, Sequence[str]]) -> dict[str, list[str]]:
        """Prepare a batch of Ray Data: a column `item` of JSON gives a column `outcome` of JSON."""
        import cv2

        cv2.setNumThreads(1)
        return {"outcome": [self.one(str(text)) for text in batch["item"]]}

    def one(self, text: str) -> str:
        """Prepare an item given as JSON; return its outcome as JSON."""
        outcome = self.prepare(_ITEM.validate_json(text))
        return json.dumps(asdict(outcome))

    def prepare(self, item: Item) -> Outcome:
        """Rows of a video. Raises OutputError if nothing can be written; any other failure becomes a row."""
        attempts = self._attempts_of(item)
        if attempts.exists() and attempts.stat().st_size >= MOST_ATTEMPTS:
            return Outcome(item.name, [self._failed(item, "crash", f"{MOST_ATTEMPTS} workers")])
        with writing(), attempts.open("ab") as file:
            file.write(b".")
        began = time.process_time()
        outcome = self._prepared(item)
        attempts.unlink(missing_ok=True)
        return Outcome(outcome.name, outcome.rows, time.process_time() - began, outcome.seconds, outcome.known)

    def forget_attempts(self, text: str) -> None:
        """Count the attempts at an item (JSON) from 0 again: another video may have killed the worker."""
        self._attempts_of(_ITEM.validate_json(text)).unlink(missing_ok=True)

    def _attempts_of(self, item: Item) -> Path:
        return self._attempts / hashlib.sha256(item.path.encode()).hexdigest()

    def _prepared(self, item: Item) -> Outcome:
        try:
            record = self._record(checksum(Path(item.path)))
            known = record.is_file()
            rows = _read_record(record) if known else self.work(item)
            if not known:
                with writing():
                    record.parent.mkdir(parents=True, exist_ok=True)
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


def attempts_folder(folder: Path, run: str) -> Path:
    """Folder in which a run counts how often it began each video that is not finished."""
    return folder / f".attempts-{run}"


def _renamed(row: Row, item: Item) -> Row:
    """A row under the name and rights that the video has now."""
    return describe(replace(row, source=replace(row.source, name=item.name)), item.recording)


def _read_record(path: Path) -> list[Row]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [parse_row(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]
