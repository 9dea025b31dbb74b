"""The catalogue of metrics (read from catalogue.tsv) and the settings of an evaluation."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from echomimic.errors import OptionError


@dataclass(frozen=True)
class Metric:
    """A metric. `better` is "higher", "lower", "0", "as real" or "-"; `version` grows when the definition changes.

    `blind` says what it does not measure, `source` where the definition comes from.
    """

    name: str
    group: str
    version: int
    unit: str
    better: str
    range: str
    formula: str
    blind: str
    source: str


@cache
def metrics() -> dict[str, Metric]:
    """All metrics by name, in the order of the report."""
    text = files("echomimic.evaluate").joinpath("catalogue.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["name"]: Metric(**{**row, "version": int(row["version"])}) for row in rows}  # type: ignore[arg-type]


def table() -> str:
    """The table of docs/evaluation.md, in Markdown."""
    lines = [
        "| metric | group | unit | better | range | formula | does not measure | after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for m in metrics().values():
        cells = (f"`{m.name}`", m.group, m.unit, m.better, m.range, m.formula, m.blind, m.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


PLAIN = ("container", "sync", "face", "picture", "hands", "reference", "expression")
"""Groups of metrics that need no weights."""
LEARNED = ("fid", "fvd", "lpips", "syncnet", "csim", "efid")
"""Groups that need a network, which the user supplies."""
QUICK = ("container", "sync", "face", "picture", "hands")
"""Groups that `animate --check` measures."""
QUICK_HAND_RATE = 5.0


@dataclass(frozen=True)
class EvaluationSettings:
    """`groups` of metrics, `lag` frames scanned both ways, `hand_rate` hand detections a second, `sheet` thumbnails.

    `weights` names the file of each network. `seed` drives the bootstrap of comparisons and nothing else.
    """

    groups: tuple[str, ...] = PLAIN
    lag: int = 15
    hand_rate: float = 25.0
    sheet: int = 12
    seed: int = 0
    weights: Mapping[str, Path] = field(default_factory=dict)

    def wants(self, group: str) -> bool:
        return group in self.groups

    def as_dict(self) -> dict[str, object]:
        """The settings for the run card and for keys of records, without the paths of weights."""
        values = asdict(self)
        del values["weights"]
        return {**values, "groups": list(self.groups)}


def make_settings(metrics: str, weights: Mapping[str, Path] | None = None, seed: int = 0) -> EvaluationSettings:
    """Settings from words such as `quick`, `default` or `sync,picture,fid`. Raises OptionError for an unknown word."""
    words = [word.strip() for word in metrics.split(",") if word.strip()] or ["default"]
    sets = {"quick": QUICK, "default": PLAIN, "all": PLAIN + LEARNED}
    unknown = [word for word in words if word not in sets and word not in PLAIN + LEARNED]
    if unknown:
        raise OptionError(
            f"unknown metrics {unknown[0]!r}; expected quick, default, all, or some of {', '.join(PLAIN + LEARNED)}"
        )
    chosen = {group for word in words for group in sets.get(word, (word,))}
    supplied = dict(weights or {})
    groups = tuple(group for group in PLAIN + LEARNED if group in chosen or group in supplied)
    rate = QUICK_HAND_RATE if words == ["quick"] else 25.0
    return EvaluationSettings(groups=groups, hand_rate=rate, seed=seed, weights=supplied)
