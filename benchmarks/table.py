"""A table of figures that is printed and written row by row, as Markdown and JSON."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure, or the reason why there is none."""

    piece: str
    case: str
    value: float | None
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        value = "–" if self.value is None else f"{self.value:.4g}"
        return f"| {self.piece} | {self.case} | {value} | {self.unit} | {self.note} |"


HEAD = "| piece | case | value | unit | note |\n|---|---|---|---|---|"


@dataclass
class Report:
    """Prints rows and writes them to files, whole after every row."""

    facts: dict[str, Any]
    folder: Path | None
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(row, flush=True)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = "gpu-" + "".join(c if c.isalnum() else "-" for c in self.facts["device"]).lower()
            found = {**self.facts, "rows": [asdict(row) for row in self.rows]}
            write_whole(self.folder / f"{name}.json", json.dumps(found, indent=1) + "\n")
            write_whole(self.folder / f"{name}.md", f"{self.title}\n\n{HEAD}\n" + "\n".join(map(str, self.rows)) + "\n")

    @property
    def title(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.facts.items())


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name, sync it, and rename it."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
