"""Every metric: what it is, its unit, which way is better, its range, what it does not measure, where it comes from.

The lines stand in catalogue.tsv; this reads them.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Metric:
    """One line. `better` is "higher", "lower", "0", "as real" or "-"; `version` grows when a definition changes."""

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
