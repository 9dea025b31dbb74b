"""Measure many clips: what is finished is kept line by line, so that a run can stop, go on, and be split up."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from echomimic.errors import InputError, OutputError
from echomimic.evaluate.catalogue import metrics
from echomimic.evaluate.manifest import Job, file_digest, pick_shard
from echomimic.evaluate.measure import Clouds, Measured, try_measure
from echomimic.evaluate.networks import Networks
from echomimic.evaluate.plots import save_pictures
from echomimic.evaluate.provenance import package_versions
from echomimic.evaluate.settings import Settings
from echomimic.media import atomic_path
from echomimic.types import Progress

Record = dict[str, object]
Said = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A run in `folder`: `parts` hold finished records, `clips` pictures, `features` what distances of sets need."""

    folder: Path
    settings: Settings
    networks: Networks

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Where something of a clip lies."""
        return self.folder / kind / f"{key}{suffix}"


@dataclass(frozen=True)
class Known:
    """A job, the key of its record, and the sha256 of its files (path, reference, portrait)."""

    job: Job
    key: str
    files: dict[str, str | None]


def open_run(folder: Path, settings: Settings, networks: Networks) -> Run:
    """Make the folder of a report; OutputError where that cannot be done."""
    try:
        for part in ("parts", "clips", "features"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); expected a folder for the report") from None
    return Run(folder, settings, networks)


def run_jobs(
    run: Run, jobs: list[Known], shard: str | None = None, progress: Progress | None = None, say: Said | None = None
) -> int:
    """Measure what has no record yet, of one shard or of all; returns how many were measured now.

    `progress` counts frames of a single clip; of many, `say` gets a line for each.
    """
    done = finished(run)
    mine = pick_shard(jobs, shard)
    place = run.folder / "parts" / f"{(shard or '1/1').replace('/', '-of-')}.jsonl"
    measured = 0
    with place.open("a", encoding="utf-8") as part:
        _end_cut_line(place, part.write)
        for number, known in enumerate(mine, start=1):
            if known.key in done:
                continue
            found = try_measure(known.job, run.settings, run.networks, progress if len(mine) == 1 else None)
            part.write(json.dumps(_record(run, known, found), sort_keys=True) + "\n")
            part.flush()
            measured += 1
            if say and len(mine) > 1:
                fault = f": {found}" if isinstance(found, Exception) else ""
                say(f"{number} of {len(mine)}: {known.job.name}{fault}")
    return measured


def identify(run: Run, job: Job) -> Known:
    """A job with the key of its record, which changes with anything that could change a figure."""
    files = {name: file_digest(getattr(job, name)) for name in ("path", "reference", "portrait")}
    versions = {name: metric.version for name, metric in metrics().items() if metric.group in run.settings.groups}
    whole = [job.name, files, run.settings.as_dict(), versions, dict(run.networks.digests), package_versions()]
    return Known(job, hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:20], files)


def finished(run: Run) -> dict[str, Record]:
    """All records by key, of every shard; a last line that was cut off is no record."""
    records: dict[str, Record] = {}
    for part in sorted((run.folder / "parts").glob("*.jsonl")):
        for line in part.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError):
                record = json.loads(line)
                records[record["key"]] = record
    return records


def load_clouds(run: Run, key: str) -> Clouds:
    """The features of a clip by metric: (its own, its reference's)."""
    path = run.path("features", key, ".safetensors")
    if not path.exists():
        return {}
    tensors = load_file(path)
    names = {name.rpartition(".")[0] for name in tensors}
    return {name: (tensors[f"{name}.clip"], tensors[f"{name}.reference"]) for name in sorted(names)}


def _record(run: Run, known: Known, found: Measured | InputError) -> Record:
    record: Record = {"key": known.key, "path": known.job.name, "sha256": known.files}
    if isinstance(found, InputError):
        return {**record, "metrics": {}, "notes": [], "error": str(found)}
    save_pictures(run.folder / "clips", known.key, found)
    _save_clouds(run, known.key, found.clouds)
    return {
        **record,
        "metrics": found.metrics,
        "notes": list(found.notes),
        "codec": found.container.codec,
    }


def _save_clouds(run: Run, key: str, clouds: Clouds) -> None:
    if clouds:
        sides = ("clip", "reference")
        tensors = {f"{n}.{side}": np.ascontiguousarray(c[i]) for n, c in clouds.items() for i, side in enumerate(sides)}
        with atomic_path(run.path("features", key, ".safetensors")) as part:
            part.write_bytes(save(tensors))


def _end_cut_line(place: Path, write: Callable[[str], int]) -> None:
    """Start on a fresh line where the last run was stopped in the middle of one."""
    text = place.read_bytes()
    if text and not text.endswith(b"\n"):
        write("\n")


def failures(run: Run, jobs: list[Known]) -> list[str]:
    """The errors of clips that could not be measured."""
    done = finished(run)
    return [str(done[known.key]["error"]) for known in jobs if "error" in done.get(known.key, {})]
