"""Prepare a collection of videos: find them and their rights, prepare each, then check the whole set and write it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from echomimic.errors import InputError, OptionError
from echomimic.files import TEMPORARY
from echomimic.media import make_folder
from echomimic.parallel import Runner
from echomimic.train.diffusion.manifest import FILE_NAME, Row, append_rows, read_manifest, write_rows
from echomimic.train.diffusion.prepare.quality import duplicates
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.shards import index_shards, pack
from echomimic.train.diffusion.prepare.video import stated_seconds
from echomimic.train.diffusion.prepare.worker import Item, Prepare, decode_outcome, encode
from echomimic.train.diffusion.rights import FILE_NAME as RIGHTS
from echomimic.train.diffusion.rights import RightsFile, read_rights
from echomimic.types import Progress

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".ts", ".mpg", ".mpeg")
LEAST_KEPT = 0.01
"""Smallest fraction of usable pieces; fewer mean that something is wrong with the videos or the settings."""
SAMPLED = 3
"""Number of videos that are prepared to estimate the time for all."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its rows, and seconds of work and of video for the videos that were prepared now."""

    folder: Path
    rows: list[Row]
    took: float
    seconds: float
    videos: int

    @property
    def kept(self) -> list[Row]:
        """The clips to train on."""
        return [row for row in self.rows if row.dropped is None]

    def reasons(self) -> list[tuple[str, int, float]]:
        """(reason or "kept", pieces, minutes), kept ones first, then the most frequent."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.dropped or "kept", []).append(row)
        order = sorted(groups, key=lambda name: (name != "kept", -len(groups[name]), name))
        return [(name, len(groups[name]), sum(row.seconds for row in groups[name]) / 60) for name in order]


def find_videos(places: Sequence[Path]) -> list[Item]:
    """The videos of files and folders, in order, each with its rights.

    Rights are read from the `rights.toml` in the video's folder, else in the folder that was named. Raises InputError
    if there are no videos, or rights are missing or incomplete.
    """
    files: dict[Path, RightsFile] = {}
    items: dict[Path, Item] = {}
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist; expected videos, or folders of them: check the path")
        for path in _videos(place):
            folder = path.parent if (path.parent / RIGHTS).is_file() or place.is_file() else place
            if folder not in files:
                files[folder] = read_rights(folder / RIGHTS)
            name = path.relative_to(folder).as_posix()
            recording = files[folder].of(name)
            items[path.resolve()] = Item(str(path.resolve()), f"{folder.resolve().name}/{name}", recording)
    if not items:
        names = ", ".join(map(str, places)) or "nothing"
        raise InputError(f"{names} holds no videos; expected files that end in {', '.join(VIDEOS)}")
    return [items[path] for path in sorted(items)]


def _videos(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    yield from (path for path in place.rglob("*") if path.suffix.lower() in VIDEOS and not path.name.startswith("."))


def prepare_videos(
    items: Sequence[Item],
    folder: Path,
    settings: PrepareSettings,
    runner: Runner,
    shards: int = 0,
    progress: Progress | None = None,
    worker: type[Prepare] = Prepare,
) -> Prepared:
    """Prepare all videos into `folder`, and write the manifest.

    Videos that were prepared before with the same content and settings are not prepared again; `shards` is the size of
    a shard in bytes, 0 for single files. Raises OptionError if the folder holds data of another kind, OutputError if
    the disk is full; finished videos are kept.
    """
    earlier = _earlier_rows(folder, items, settings)
    make_folder(folder)
    outcomes = []
    manifest = folder / FILE_NAME
    texts = [encode(item) for item in items]
    for outcome in map(decode_outcome, runner(worker, (str(folder.resolve()), settings), texts, folder)):
        outcomes.append(outcome)
        if not outcome.known:
            append_rows(manifest, outcome.rows)
        if progress:
            progress(len(outcomes), len(items))
    _remove_unfinished(folder)
    found = sorted(outcomes, key=lambda outcome: outcome.name)
    rows = judge_set([*earlier, *(row for outcome in found for row in outcome.rows)], settings)
    rows = in_shards(folder, rows)
    rows = pack(folder, rows, shards) if shards else rows
    write_rows(manifest, sorted(rows, key=lambda row: (row.source.name, row.source.start, row.id)))
    new = [outcome for outcome in outcomes if not outcome.known]
    return Prepared(folder, rows, sum(o.took for o in new), sum(o.seconds for o in new), len(new))


def check_survivors(prepared: Prepared) -> None:
    """Raise InputError if hardly any piece is usable."""
    if len(prepared.kept) < max(1, LEAST_KEPT * len(prepared.rows)):
        reasons = [f"{name} {count}" for name, count, _ in prepared.reasons() if name != "kept"]
        raise InputError(
            f"{len(prepared.kept)} of {len(prepared.rows)} pieces are usable (dropped: {', '.join(reasons)}); expected "
            f"at least {LEAST_KEPT:.0%}: see the field detail in {prepared.folder / FILE_NAME}"
        )


def judge_set(rows: Iterable[Row], settings: PrepareSettings) -> list[Row]:
    """The rows, with duplicates, and clips that are much less sharp than the others, marked as dropped."""
    seen: set[str] = set()
    known: list[Row] = []
    for row in rows:
        if row.id in seen:
            row = replace(row, id=f"{row.id}-{len(known)}", dropped="duplicate", detail="the same video twice")
        seen.add(row.id)
        known.append(row)
    same = duplicates((row.id, row.fingerprint) for row in known if row.dropped is None)
    known = [replace(row, dropped="duplicate", detail=same[row.id]) if row.id in same else row for row in known]
    sharpness = np.array([row.sharpness for row in known if row.dropped is None and row.sharpness is not None])
    if not len(sharpness):
        return known
    limit = min(float(np.quantile(sharpness, settings.blurred)), float(np.median(sharpness)) - settings.blurred_by)
    return [_if_sharp(row, limit) for row in known]


def _if_sharp(row: Row, limit: float) -> Row:
    if row.dropped is not None or row.sharpness is None or row.sharpness >= limit:
        return row
    return replace(row, dropped="blurred", detail=f"sharpness {row.sharpness:.2f}, at least {limit:.2f}")


def in_shards(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows, with the shard of those whose files an earlier run has packed."""
    shards = index_shards(folder)
    return [
        replace(row, shard=shards[row.id], clip="", sound="", track="") if row.id in shards else row for row in rows
    ]


def _earlier_rows(folder: Path, items: Sequence[Item], settings: PrepareSettings) -> list[Row]:
    """Rows of the manifest whose videos are not prepared now, as they were before the set was checked."""
    if not (folder / FILE_NAME).is_file():
        return []
    names = {item.name for item in items}
    rows = [row for row in read_manifest(folder, dropped=True) if row.source.name not in names]
    other = next((row for row in rows if (row.kind, row.settings) != (settings.kind, settings.digest())), None)
    if other is not None:
        raise OptionError(
            f"{folder} holds clips of {other.source.name} that were prepared as {other.kind!r} with other settings; "
            "expected the same kind and settings: give another folder with `output`"
        )
    judged = ("blurred", "duplicate")
    return [replace(row, dropped=None, detail="") if row.dropped in judged and row.checksums else row for row in rows]


def _remove_unfinished(folder: Path) -> None:
    """Delete what killed workers left behind."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Forecast:
    """Measured rates of one core, and what they mean for `videos` videos of `hours` in all."""

    videos_per_hour: float
    speed: float
    videos: int = 0
    hours: float = 0.0

    @property
    def core_hours(self) -> float:
        return self.hours / self.speed

    def line(self) -> str:
        """The rates, and with `videos` the forecast, in one line."""
        rates = f"{self.videos_per_hour:.3g} videos an hour a core, {self.speed:.2g} s of video a second"
        if not self.videos:
            return rates
        return f"{rates}; {self.videos} videos of {self.hours:.2g} h need {self.core_hours:.2g} core-hours"

    def as_dict(self) -> dict[str, float]:
        """The values by name, for programs."""
        return {**asdict(self), "core_hours": self.core_hours}


def rate(prepared: Prepared) -> Forecast | None:
    """The rates at which videos were prepared now; None if all had been prepared before."""
    if prepared.videos == 0 or prepared.took <= 0 or prepared.seconds <= 0:
        return None
    return Forecast(prepared.videos / prepared.took * 3600, prepared.seconds / prepared.took)


def forecast(prepared: Prepared, videos: int, hours: float) -> Forecast | None:
    """The rates with a forecast for `videos` videos of `hours` in total, whose mean length may be different."""
    known = rate(prepared)
    if known is None or hours <= 0:
        return known
    return Forecast(videos * known.speed / hours, known.speed, videos, hours)


def hours_of(items: Sequence[Item]) -> float:
    """Total hours of the videos, as stated in their headers."""
    return sum(stated_seconds(Path(item.path)) for item in items) / 3600


def sampled(items: Sequence[Item], count: int = SAMPLED) -> list[Item]:
    """Up to `count` items, evenly spread."""
    places = sorted({round(place) for place in np.linspace(0, len(items) - 1, count)})
    return [items[place] for place in places]
