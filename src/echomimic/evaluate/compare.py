"""Two reports side by side: differences of means with bootstrap intervals."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echomimic.errors import InputError
from echomimic.evaluate.catalogue import metrics
from echomimic.evaluate.measure import round_digits
from echomimic.evaluate.report import Report, can_draw, render_comparison, value_of
from echomimic.media import atomic_path

RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """B minus A of one metric: means, and the 95 % interval of the difference. `paired`: clip by clip, by name."""

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    clips: int
    paired: bool
    better: str


def compare(a: Report, b: Report, seed: int = 0) -> list[Difference]:
    """Compare every metric that both reports have, in the catalogue's order. Raises InputError if there is none."""
    found = [row for name in metrics() if (row := _difference(name, a, b, seed)) is not None]
    if not found:
        raise InputError("the two reports have no metric in common; expected two runs of the same metrics")
    return found


def _difference(name: str, a: Report, b: Report, seed: int) -> Difference | None:
    ours, theirs = _values(a, name), _values(b, name)
    if not ours or not theirs:
        return None
    paired = ours.keys() == theirs.keys()
    one = np.array([ours[path] for path in sorted(ours)])
    other = np.array([theirs[path] for path in sorted(theirs)])
    low, high = bootstrap(one, other, paired, seed)
    return Difference(
        metric=name,
        a=round_digits(float(one.mean())),
        b=round_digits(float(other.mean())),
        difference=round_digits(float(other.mean() - one.mean())),
        low=round_digits(low),
        high=round_digits(high),
        clips=len(other),
        paired=paired,
        better=_verdict(metrics()[name].better, low, high),
    )


def bootstrap(one: Doubles, other: Doubles, paired: bool, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval (Efron 1979) of the difference of means; paired clips are drawn together."""
    random = np.random.default_rng(seed)
    if paired:
        change = other - one
        means = change[random.integers(0, len(change), (RESAMPLES, len(change)))].mean(axis=1)
    else:
        drawn = [
            values[random.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1) for values in (one, other)
        ]
        means = drawn[1] - drawn[0]
    low, high = np.percentile(means, _INTERVAL)
    return float(low), float(high)


def write_comparison(folder: Path, rows: list[Difference], names: tuple[str, str]) -> None:
    """Write compare.json and compare.html into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "compare.json") as part:
        whole = {"a": names[0], "b": names[1], "metrics": [asdict(row) for row in rows]}
        part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8", errors="backslashreplace")
    if can_draw():
        cells = [
            (
                row.metric,
                row.a,
                row.b,
                row.difference,
                f"{row.low:.4g} … {row.high:.4g}",
                row.clips,
                "by clip" if row.paired else "no",
                row.better,
            )
            for row in rows
        ]
        with atomic_path(folder / "compare.html") as part:
            part.write_text(render_comparison(names, cells), encoding="utf-8", errors="backslashreplace")


def _values(report: Report, name: str) -> dict[str, float]:
    return {str(clip["path"]): value for clip in report["clips"] if (value := value_of(clip, name)) is not None}


def _verdict(better: str, low: float, high: float) -> str:
    if better not in ("higher", "lower") or low <= 0 <= high:
        return "–"
    return "B" if (low > 0) == (better == "higher") else "A"
