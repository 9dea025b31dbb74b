"""Manifests, which name an item of work in each row: CSV with a header, or JSONL; and the shards of their rows."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from echomimic.errors import InputError, OptionError

_DELIMITERS = ",;\t"


def read_rows(path: Path, accepted: str) -> list[tuple[int, Mapping[str, object]]]:
    """The rows of a .csv or .jsonl file with their numbers, from 1; empty lines are left out.

    The cells of a CSV, which may be separated by commas, semicolons or tabs, are texts. Raises InputError, whose
    message says what is `accepted`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _json_rows(text, path, accepted) if path.suffix.lower() == ".jsonl" else _csv_rows(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected {accepted}") from None
    except (ValueError, csv.Error):
        raise InputError(f"{path} is no manifest that can be read; expected {accepted}") from None


def _csv_rows(text: str) -> list[tuple[int, Mapping[str, object]]]:
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    return [(number, row) for number, row in enumerate(rows, 1) if any(row.values())]


def _json_rows(text: str, path: Path, accepted: str) -> list[tuple[int, Mapping[str, object]]]:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [(number, _object(line, number, path, accepted)) for number, line in lines]


def _object(line: str, number: int, path: Path, accepted: str) -> Mapping[str, object]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise InputError(f"row {number} of {path} is {line!r:.60}, no object of JSON; expected {accepted}")
    return row


def parse_shard(text: str) -> tuple[int, int]:
    """Number and count of a shard "i/n". Raises OptionError for anything else."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise OptionError(f"shard {text!r}; expected i/n with i from 1 to n, such as 1/4")
    return int(number), int(count)
