"""Motion as `.json` and `.csv`, for other tools and for eyes: written so that reading gives the same float32 back."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.media import atomic_path
from echomimic.motion.archive import Arrays, arrays_of
from echomimic.motion.schema import FORMAT, UNITS, VERSION, Fields, kind_of, pose_shapes
from echomimic.types import CURVE_NAMES, Floats, LandmarkTrack, Motion

_AXES = {"points": "xyz", "body": ("x", "y", "score"), "hands": ("x", "y", "score"), "face": ("x", "y", "score")}


def header_of(motion: Motion, edits: tuple[str, ...]) -> dict[str, Any]:
    """The words beside the numbers of a motion, as text formats hold them."""
    kind = kind_of(motion)
    words: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "units": UNITS[kind],
        "fps": motion.fps,
        "canvas": [int(side) for side in motion.image_size],
        "edits": list(edits),
    }
    if isinstance(motion, LandmarkTrack) and motion.curves is not None:
        words |= {"curve_names": list(CURVE_NAMES), "curves_fps": motion.curves.fps}
    if isinstance(motion, LandmarkTrack) and motion.parts is not None:
        words["parts"] = list(motion.parts)
    return words


def fields_from_header(words: dict[str, Any], arrays: Arrays, where: str) -> Fields:
    """The header's words and the arrays as one; MotionError where a word is missing or of the wrong type."""
    try:
        width, height = words["canvas"]
        return Fields(
            kind=str(words["kind"]),
            fps=float(words["fps"]),
            image_size=(int(width), int(height)),
            arrays=arrays,
            curve_names=tuple(str(name) for name in words.get("curve_names") or ()),
            curves_fps=float(words["curves_fps"]) if words.get("curves_fps") else None,
            version=int(words["version"]),
            edits=tuple(str(edit) for edit in words.get("edits") or ()),
            parts=None if words.get("parts") is None else tuple(str(part) for part in words["parts"]),
        )
    except KeyError as missing:
        raise MotionError(f"{where} has no {missing}; expected a motion file of this program") from None
    except (TypeError, ValueError):
        raise MotionError(f"{where} has a version, frame rate or canvas that is no number; expected numbers") from None


def write_json(path: Path, motion: Motion, edits: tuple[str, ...]) -> None:
    """Write the motion as one JSON object: the header's words, then `frames`, an object each."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header_of(motion, edits), allow_nan=False)[:-1] + ', "frames": [\n')
        arrays = arrays_of(motion)
        for i in range(len(motion)):
            row = ", ".join(f'"{name}": {_json_numbers(values[i])}' for name, values in arrays.items())
            file.write(f"{{{row}}}{',' if i + 1 < len(motion) else ''}\n")
        file.write("]}\n")


def _json_numbers(values: Any) -> str:
    """Nested lists of the shortest decimals that give the same float32 back."""
    if np.ndim(values) == 0:
        return str(bool(values)).lower() if isinstance(values, np.bool_) else _shortest(values)
    if np.ndim(values) == 1:
        return f"[{', '.join(words_of(values))}]"
    return f"[{', '.join(_json_numbers(row) for row in values)}]"


def _shortest(value: Any) -> str:
    return np.format_float_positional(np.float32(value), unique=True, trim="0")


def words_of(values: npt.NDArray[np.generic]) -> list[str]:
    """Each number of a row as the shortest decimal that reads back as the same float32."""
    words: list[str] = np.asarray(values, np.float32).ravel().astype("U32").tolist()
    return words


def read_json(path: Path) -> Any:
    """The JSON value in `path`; MotionError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MotionError(f"{path} is no JSON: {str(error).splitlines()[0]}") from None


def fields_from_json(value: dict[str, Any], where: str) -> Fields:
    """What one of our own JSON files says."""
    frames = value.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise MotionError(f"{where} has no list of frames; expected 'frames' with at least one object in it")
    arrays: Arrays = {name: stacked([frame.get(name) for frame in frames], f"{where}: {name}") for name in frames[0]}
    return fields_from_header(value, arrays, where)


def stacked(rows: list[Any], what: str) -> npt.NDArray[np.generic]:
    """Rows of one shape as an array of numbers or of flags; MotionError where they differ or hold anything else."""
    try:
        values = np.array(rows)
    except ValueError:
        first = np.shape(rows[0]) if _regular(rows[0]) else None
        odd = next((i for i, row in enumerate(rows) if not _regular(row) or np.shape(row) != first), 0)
        raise MotionError(
            f"{what}: frame {odd} has another shape than frame 0; expected one shape throughout"
        ) from None
    if values.dtype.kind not in "fiub":
        raise MotionError(f"{what} holds something that is no number; expected numbers in every frame")
    return values if values.dtype.kind == "b" else values.astype(np.float32)


def _regular(row: Any) -> bool:
    try:
        return np.asarray(row).dtype.kind in "fiub"
    except ValueError:
        return False


def write_csv(path: Path, motion: Motion, edits: tuple[str, ...]) -> None:
    """Write the motion as a table, a row a frame, below one comment line that holds the header's words."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {json.dumps(header_of(motion, edits), allow_nan=False)}\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", "seconds", *_columns(motion)])
        for i in range(len(motion)):
            table.writerow([i, f"{i / motion.fps:.6f}", *_row(motion, i)])


def _columns(motion: Motion) -> Iterator[str]:
    for name, values in arrays_of(motion).items():
        if name == "valid":
            yield "valid"
        elif name == "curves":
            yield from (f"curve.{curve}" for curve in CURVE_NAMES)
        else:
            for index in np.ndindex(values.shape[1:-1]):
                yield from (f"{name}.{'.'.join(map(str, index))}.{axis}" for axis in _AXES[name])


def _row(motion: Motion, i: int) -> Iterator[str]:
    for name, values in arrays_of(motion).items():
        if name == "valid":
            yield str(int(values[i]))
        else:
            yield from words_of(values[i])


def read_csv(path: Path) -> Fields:
    """What one of our own tables says; MotionError where a cell is no number or a column is missing."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = file.readline()
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MotionError(f"{path} is no table of text: {error}") from None
    words = _comment(first, path)
    if len(rows) < 2:
        raise MotionError(f"{path} has no frames; expected a row for each")
    return fields_from_header(
        words, _table_arrays(rows[0], _cells(rows[1:], len(rows[0]), path), words, path), str(path)
    )


def _comment(line: str, path: Path) -> dict[str, Any]:
    try:
        words = json.loads(line.removeprefix("#")) if line.startswith("#") else None
    except json.JSONDecodeError:
        words = None
    if not isinstance(words, dict) or words.get("format") != FORMAT:
        raise MotionError(f'{path} is no motion table: expected a first line \'# {{"format": "{FORMAT}", ...}}\'')
    return words


def _cells(rows: list[list[str]], width: int, path: Path) -> Floats:
    for i, row in enumerate(rows):
        if len(row) != width:
            raise MotionError(f"{path}: row {i + 1} has {len(row)} cells; expected {width}, as the heading has")
    try:
        return np.array(rows, np.float32)
    except ValueError as error:
        raise MotionError(f"{path}: {error}; expected numbers in every cell") from None


def _table_arrays(names: list[str], cells: Floats, words: dict[str, Any], path: Path) -> Arrays:
    arrays: Arrays = {}
    shapes = {"points": (len(cells), 478, 3)} if words.get("kind") == "landmarks" else pose_shapes(len(cells))
    for name, shape in shapes.items():
        columns = [i for i, column in enumerate(names) if column.startswith(f"{name}.")]
        if len(columns) * len(cells) != np.prod(shape):
            raise MotionError(f"{path} has {len(columns)} columns of {name}; expected {int(np.prod(shape[1:]))}")
        arrays[name] = cells[:, columns].reshape(shape)
    if "valid" in names:
        arrays["valid"] = cells[:, names.index("valid")] != 0
    curves = [i for i, column in enumerate(names) if column.startswith("curve.")]
    if curves:
        arrays["curves"] = cells[:, curves]
        words["curve_names"] = [names[i].removeprefix("curve.") for i in curves]
    return arrays
