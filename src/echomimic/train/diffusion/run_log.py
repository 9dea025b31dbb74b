"""The log of a training run: `log.jsonl`, one JSON object a line, and trackers of accelerate by name."""

import json
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from echomimic.errors import SetupError
from echomimic.media import atomic_path
from echomimic.media.output import writing

NAME = "log.jsonl"
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}


def write_log(folder: Path, record: dict[str, Any]) -> None:
    """Append a record as one line, in a folder that may be new; numbers that are not finite become null."""
    with writing():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: _finite(value) for name, value in record.items()}) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of a run; a last line that a killed run left unfinished is left out."""
    path = folder / NAME
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def cut_log(folder: Path, step: int) -> None:
    """Remove the records after `step`, which a resumed run makes again."""
    if not (folder / NAME).is_file():
        return
    kept = [record for record in read_log(folder) if record.get("step", 0) <= step]
    with writing(), atomic_path(folder / NAME) as part:
        part.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


def check_trackers(names: Sequence[str]) -> None:
    """Raise SetupError for a tracker whose package is missing."""
    for name in names:
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise SetupError(f"run.trackers has {name}, which is not installed; expected: pip install {name}")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
