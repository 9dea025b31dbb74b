"""Measure many clips: each record is kept as one line, so that a run can stop, resume and be split into shards."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from echomimic.errors import InputError, OutputError
from echomimic.evaluate.catalogue import EvaluationSettings, metrics
from echomimic.evaluate.manifest import ClipSource, file_digest, pick_shard
from echomimic.evaluate.measure import FeatureSets, Measured, measure
from echomimic.evaluate.networks import MetricNetworks
from echomimic.evaluate.report import Record, Report, make_report, package_versions, save_pictures, write_report
from echomimic.media import write_file
from echomimic.types import Progress


@dataclass(frozen=True)
class EvaluationRun:
    """A run in `folder`: `parts` holds finished records, `clips` pictures, `features` the inputs of set distances."""

    folder: Path
    settings: EvaluationSettings
    networks: MetricNetworks

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """The file of one kind that belongs to the clip with this key."""
        return self.folder / kind / f"{key}{suffix}"


@dataclass(frozen=True)
class IdentifiedClip:
    """A clip, the key of its record, and the sha256 of its files (path, reference, portrait)."""

    source: ClipSource
    key: str
    files: dict[str, str | None]


def open_run(folder: Path, settings: EvaluationSettings, networks: MetricNetworks) -> EvaluationRun:
    """Make the folder of a report. Raises OutputError if it cannot be made."""
    try:
        for part in ("parts", "clips", "features"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); expected a folder for the report") from None
    return EvaluationRun(folder, settings, networks)


def identify(run: EvaluationRun, source: ClipSource) -> IdentifiedClip:
    """Compute the key of a clip's record, which changes with anything that could change a figure."""
    files = {name: file_digest(getattr(source, name)) for name in ("path", "reference", "portrait")}
    versions = {name: metric.version for name, metric in metrics().items() if metric.group in run.settings.groups}
    whole = [source.name, files, run.settings.as_dict(), versions, dict(run.networks.digests), package_versions()]
    key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:20]
    return IdentifiedClip(source, key, files)


def measure_clips(
    run: EvaluationRun,
    clips: list[IdentifiedClip],
    shard: str | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Measure the clips of a shard (or of all) that have no record yet; return how many were measured.

    `progress` counts frames if there is a single clip; otherwise `say` gets a line for each.
    """
    done = read_records(run)
    chosen = pick_shard(clips, shard)
    path = run.folder / "parts" / f"{(shard or '1/1').replace('/', '-of-')}.jsonl"
    measured = 0
    with path.open("a", encoding="utf-8") as part:
        if path.read_bytes()[-1:] not in (b"", b"\n"):
            part.write("\n")  # the last run was stopped in the middle of a line
        for number, clip in enumerate(chosen, start=1):
            if clip.key in done:
                continue
            try:
                found: Measured | InputError
                found = measure(clip.source, run.settings, run.networks, progress if len(chosen) == 1 else None)
            except InputError as fault:  # the others continue
                found = fault
            part.write(json.dumps(_record(run, clip, found), sort_keys=True) + "\n")
            part.flush()
            measured += 1
            if say and len(chosen) > 1:
                error = f": {found}" if isinstance(found, Exception) else ""
                say(f"{number} of {len(chosen)}: {clip.source.name}{error}")
    return measured


def finish_run(run: EvaluationRun, clips: list[IdentifiedClip]) -> Report | None:
    """Write the report of all clips; return None and write nothing while some have no record."""
    done = read_records(run)
    if any(clip.key not in done for clip in clips):
        return None
    records = [done[clip.key] for clip in clips]
    report = make_report(run.settings, run.networks, records, [load_feature_sets(run, clip.key) for clip in clips])
    write_report(run.folder, report, records)
    return report


def read_records(run: EvaluationRun) -> dict[str, Record]:
    """All records of all shards by key; a truncated last line is skipped."""
    records: dict[str, Record] = {}
    for part in sorted((run.folder / "parts").glob("*.jsonl")):
        for line in part.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError):
                record = json.loads(line)
                records[record["key"]] = record
    return records


def failures(run: EvaluationRun, clips: list[IdentifiedClip]) -> list[str]:
    """The errors of clips that could not be measured."""
    done = read_records(run)
    return [str(done[clip.key]["error"]) for clip in clips if "error" in done.get(clip.key, {})]


def load_feature_sets(run: EvaluationRun, key: str) -> FeatureSets:
    """The features of a clip by metric: (its own, its reference's)."""
    path = run.path("features", key, ".safetensors")
    if not path.exists():
        return {}
    tensors = load_file(path)
    names = {name.rpartition(".")[0] for name in tensors}
    return {name: (tensors[f"{name}.clip"], tensors[f"{name}.reference"]) for name in sorted(names)}


def _record(run: EvaluationRun, clip: IdentifiedClip, found: Measured | InputError) -> Record:
    record: Record = {"key": clip.key, "path": clip.source.name, "sha256": clip.files}
    if isinstance(found, InputError):
        return {**record, "metrics": {}, "notes": [], "error": str(found)}
    save_pictures(run.folder / "clips", clip.key, found)
    _save_feature_sets(run, clip.key, found.feature_sets)
    return {**record, "metrics": found.metrics, "notes": list(found.notes), "codec": found.container.codec}


def _save_feature_sets(run: EvaluationRun, key: str, feature_sets: FeatureSets) -> None:
    if feature_sets:
        tensors = {
            f"{name}.{side}": np.ascontiguousarray(features)
            for name, pair in feature_sets.items()
            for side, features in zip(("clip", "reference"), pair, strict=True)
        }
        write_file(run.path("features", key, ".safetensors"), save(tensors))
