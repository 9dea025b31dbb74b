"""Motion files: `.npz`, `.json` and `.csv` are read and written without loss; other programs' files are recognised."""

import csv
import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError, OutputError
from echomimic.media import atomic_path
from echomimic.media.output import check_place
from echomimic.media.source import content_kind, refuse_address
from echomimic.motion.edits import Edit
from echomimic.motion.schema import (
    FORMAT,
    Arrays,
    MotionHeader,
    check_fps,
    check_image_size,
    check_motion,
    motion_from,
    pose_shapes,
    without_nan,
)
from echomimic.types import CURVE_NAMES, Floats, LandmarkTrack, Motion

SUFFIXES = (".npz", ".json", ".csv")
VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".gif")
READABLE = (
    "a video, .npz, .json, .csv, .pkl, .npy, or a folder of <number>.pkl (V1), <number>.npy (V2) or OpenPose JSON"
)
"""What `load_motion` reads, for messages."""
MAX_BYTES = 64 << 30
_AXES = {"points": "xyz", "body": ("x", "y", "score"), "hands": ("x", "y", "score"), "face": ("x", "y", "score")}
_HEAD = 4096
"""Number of bytes by which the kind of a file is recognised."""


def save_motion(path: str | Path, motion: Motion, edits: Sequence[Edit] = ()) -> Path:
    """Save a motion by the suffix of `path`: `.npz` (exact, small), `.json` or `.csv` (for other tools, exact too).

    The file appears whole or not at all. `edits` are the records that made the motion, in order. Frames that are not
    valid get numbers interpolated from their neighbours. MotionError if the motion is unsound or the suffix unknown,
    OutputError if the file cannot be written.
    """
    path = check_motion_path(path)
    check_motion(motion)
    if isinstance(motion, LandmarkTrack):
        motion = without_nan(motion)
    write = {".npz": _write_npz, ".json": _write_json, ".csv": _write_csv}[path.suffix.lower()]
    try:
        with atomic_path(path) as temporary:
            write(temporary, motion, MotionHeader.of(motion, edits))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; expected a place that may be written") from None
    return path


def check_motion_path(path: str | Path) -> Path:
    """Return `path` if a motion can be saved there. MotionError or OutputError otherwise, before any work is done."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise MotionError(f"cannot save motion as {path.name!r}; expected a name that ends in {', '.join(SUFFIXES)}")
    check_place(path)
    return path


def load_motion(
    path: str | Path, fps: float | None = None, image_size: tuple[int, int] | None = None, pose: bool = False
) -> Motion:
    """Read a motion: a file of `save_motion`, a file or folder of another program, or a video, which is tracked.

    Other programs: V1's folder of `<i>.pkl`, V2's folder of `<i>.npy`, OpenPose or DWPose JSON (a file or a folder of
    them), mediapipe landmarks dumped as JSON or `.npy`. A file's content decides, not its name, and nothing in it is
    executed. `fps` and `image_size` (width, height) are for formats that hold none (default: 24, and 512x512 for faces
    or 768x768 for hands, as in V1 and V2); a file that states its own wins. A video gives the face, or with `pose` body
    and hands. MotionError in one line if the motion cannot be used.
    """
    if fps is not None:
        check_fps(fps, "the wanted motion")
    if image_size is not None:
        check_image_size(image_size, "the wanted motion")
    return load_with_edits(path, fps, image_size, pose)[0]


def load_edits(path: str | Path) -> tuple[Edit, ...]:
    """The edits that made a saved motion, in order; none for files of other programs."""
    own = _read_own(Path(path))
    return () if own is None else own[0].edits


def load_with_edits(
    path: str | Path, fps: float | None = None, image_size: tuple[int, int] | None = None, pose: bool = False
) -> tuple[Motion, tuple[Edit, ...]]:
    """As `load_motion` and `load_edits`, with the file read once."""
    refuse_address(path, MotionError)
    path = Path(path)
    if not path.exists():
        raise MotionError(f"there is no motion at {path}; expected {READABLE}")
    own = _read_own(path)
    if own is not None:
        return motion_from(own[0], own[1], str(path)), own[0].edits
    if is_video(path):
        from echomimic.motion.tracking import track_video

        return track_video(path, pose), ()
    from echomimic.motion.importers import read_foreign

    return check_motion(read_foreign(path, fps, image_size), str(path)), ()


# ---- what kind of file it is


def kind_of_file(path: Path) -> str:
    """`npz`, `npy`, `json`, `csv` or `pkl` by the first bytes of a file; its suffix if these are not conclusive."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:
        return "pkl"
    text = _decoded(head, errors="ignore").lstrip()
    if text[:1] in ("{", "["):
        return "json"
    if text[:1] == "#" or text[:2] == '"#':
        return "csv"
    return path.suffix.lower().removeprefix(".")


def is_video(path: Path) -> bool:
    """Whether the content of a file is a video; a broken file with the suffix of a video counts as one."""
    return path.suffix.lower() in VIDEO_SUFFIXES or content_kind(path) == "video"


def _read_own(path: Path) -> tuple[MotionHeader, Arrays] | None:
    """The header and arrays of a file of `save_motion`; None for files of other programs, and for folders."""
    try:
        kind = kind_of_file(path) if path.is_file() else ""
        if kind == "npz":
            return _read_npz(path)
        if kind == "csv":
            return _read_csv(path)
        if kind == "json":
            value = read_json(path)
            if isinstance(value, dict) and value.get("format") == FORMAT:
                return _read_own_json(value, str(path))
    except OSError as error:
        raise MotionError(f"{path} cannot be read: {error.strerror}") from None
    return None


def _decoded(data: bytes, errors: str = "strict") -> str:
    """Text in UTF-8 or UTF-16, with or without a byte order mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors)
    if len(data) > 3 and data[1] == 0 and data[0] != 0:
        return data.decode("utf-16-le", errors)
    if len(data) > 3 and data[0] == 0 and data[1] != 0:
        return data.decode("utf-16-be", errors)
    return data.decode("utf-8-sig", errors)


# ---- .npz


def _arrays_of(motion: Motion) -> Arrays:
    if isinstance(motion, LandmarkTrack):
        curves: Arrays = {} if motion.curves is None else {"curves": motion.curves.values}
        return {"points": motion.points, "valid": motion.valid, **curves}
    return {"body": motion.body, "hands": motion.hands, "face": motion.face}


def _write_npz(path: Path, motion: Motion, header: MotionHeader) -> None:
    values = header.as_dict()
    values["edits"] = np.array([json.dumps(edit) for edit in values["edits"]], np.str_)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **values, **_arrays_of(motion))


def _read_npz(path: Path) -> tuple[MotionHeader, Arrays]:
    try:
        arrays = read_arrays(path)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise MotionError(
            f"{path} cannot be read ({why}); expected a motion file of this program: save it again"
        ) from None
    if str(arrays.get("format")) != FORMAT:
        held = ", ".join(sorted(arrays)[:6]) or "nothing"
        raise MotionError(f"{path} is not a motion file of this program (it holds {held}); expected {FORMAT!r}")
    names = {field.alias or name for name, field in MotionHeader.model_fields.items()}
    values = {name: arrays.pop(name).tolist() for name in names & arrays.keys()}
    if isinstance(values.get("edits"), list):
        values["edits"] = [_json_or_text(edit) for edit in values["edits"]]
    return MotionHeader.read(values, str(path)), arrays


def _json_or_text(word: object) -> object:
    """The record that a string holds as JSON; the string itself if it holds none."""
    if isinstance(word, str) and word.startswith("{"):
        try:
            return json.loads(word)
        except (json.JSONDecodeError, RecursionError):
            return word
    return word


def read_arrays(path: Path) -> Arrays:
    """Every array of an `.npz`, by name.

    Each array's header is compared with the size that the archive states before memory is allocated, so that a small
    file cannot request a large array; object arrays are refused.
    """
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        if sum(info.file_size for info in members) > MAX_BYTES:
            raise MotionError(f"{path} would unpack to more than {MAX_BYTES >> 30} GiB; expected a motion file")
        arrays: Arrays = {}
        for info in members:
            with archive.open(info) as file:
                arrays[info.filename.removesuffix(".npy")] = read_array(file, info.file_size, str(path))
    return arrays


def read_array(file: IO[bytes], size: int, where: str) -> npt.NDArray[np.generic]:
    """Read one `.npy` of `size` bytes from an open file. MotionError for object arrays and wrong headers."""
    shape, fortran, dtype = read_array_header(file)
    count = math.prod(shape)
    if dtype.hasobject:
        raise MotionError(f"{where} holds Python objects; expected plain numbers: it was not opened")
    if count * dtype.itemsize > size:
        raise MotionError(f"{where} promises {count * dtype.itemsize} bytes and holds {size}: the file is broken")
    values = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
    return values.reshape(shape, order="F" if fortran else "C")


def read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """The header of a `.npy`: its shape, whether it is in Fortran order, and the type of its items."""
    formats: Any = np.lib.format  # typed in some releases of numpy only
    version = formats.read_magic(file)
    read = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(shape), bool(fortran), dtype


# ---- .json


def _write_json(path: Path, motion: Motion, header: MotionHeader) -> None:
    arrays = _arrays_of(motion)
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header.as_dict(), allow_nan=False)[:-1] + ', "frames": [\n')
        for i in range(len(motion)):
            row = ", ".join(f'"{name}": {_json_numbers(values[i])}' for name, values in arrays.items())
            file.write(f"{{{row}}}{',' if i + 1 < len(motion) else ''}\n")
        file.write("]}\n")


def _json_numbers(values: Any) -> str:
    """Nested lists of the shortest decimals that read back as the same float32."""
    if np.ndim(values) == 0:
        return str(bool(values)).lower()
    if np.ndim(values) == 1:
        return f"[{', '.join(_decimals(values))}]"
    return f"[{', '.join(_json_numbers(row) for row in values)}]"


def _decimals(values: npt.NDArray[np.generic]) -> list[str]:
    """Each number of a row as the shortest decimal that reads back as the same float32."""
    return np.asarray(values, np.float32).ravel().astype("U32").tolist()


def read_json(path: Path) -> Any:
    """The JSON value in `path`, in UTF-8 or UTF-16. MotionError if there is none."""
    try:
        return json.loads(_decoded(path.read_bytes()))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MotionError(f"{path} is not JSON: {str(error).splitlines()[0]}") from None


def _read_own_json(value: dict[str, Any], where: str) -> tuple[MotionHeader, Arrays]:
    frames = value.pop("frames", None)
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise MotionError(f"{where} has no list of frames; expected 'frames' with at least one object in it")
    arrays: Arrays = {name: _stacked([frame.get(name) for frame in frames], f"{where}: {name}") for name in frames[0]}
    return MotionHeader.read(value, where), arrays


def _stacked(rows: list[Any], what: str) -> npt.NDArray[np.generic]:
    """Rows of one shape as an array of numbers or of flags. MotionError if they differ or hold anything else."""
    try:
        values = np.array(rows)
    except ValueError:
        first = np.shape(rows[0]) if _regular(rows[0]) else None
        odd = next((i for i, row in enumerate(rows) if not _regular(row) or np.shape(row) != first), 0)
        raise MotionError(
            f"{what}: frame {odd} has another shape than frame 0; expected one shape throughout"
        ) from None
    if values.dtype.kind not in "fiub":
        raise MotionError(f"{what} holds something that is not a number; expected numbers in every frame")
    return values if values.dtype.kind == "b" else values.astype(np.float32)


def _regular(row: Any) -> bool:
    try:
        return np.asarray(row).dtype.kind in "fiub"
    except ValueError:
        return False


# ---- .csv


def _write_csv(path: Path, motion: Motion, header: MotionHeader) -> None:
    """A row a frame, below a comment line that holds the header as JSON."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {json.dumps(header.as_dict(), allow_nan=False)}\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", "seconds", *_columns(motion)])
        for i in range(len(motion)):
            table.writerow([i, f"{i / motion.fps:.6f}", *_row(motion, i)])


def _columns(motion: Motion) -> Iterator[str]:
    for name, values in _arrays_of(motion).items():
        if name == "valid":
            yield "valid"
        elif name == "curves":
            yield from (f"curve.{curve}" for curve in CURVE_NAMES)
        else:
            for index in np.ndindex(values.shape[1:-1]):
                yield from (f"{name}.{'.'.join(map(str, index))}.{axis}" for axis in _AXES[name])


def _row(motion: Motion, i: int) -> Iterator[str]:
    for name, values in _arrays_of(motion).items():
        if name == "valid":
            yield str(int(values[i]))
        else:
            yield from _decimals(values[i])


def _read_csv(path: Path) -> tuple[MotionHeader, Arrays]:
    """A table of `save_motion`, also if a spreadsheet saved it: with quotes, semicolons or tabs, and decimal commas."""
    try:
        text = _decoded(path.read_bytes()).lstrip().replace("\r\n", "\n").replace("\r", "\n")
        first, _, table = text.partition("\n")
        heading = table.partition("\n")[0].replace('"', "")
        delimiter = next((each for each in ",;\t" if f"frame{each}seconds" in heading), ",")
        rows = [row for row in csv.reader(io.StringIO(table), delimiter=delimiter) if row]
        header = _comment(next(csv.reader([first], delimiter=delimiter), []), first, delimiter)
    except UnicodeDecodeError:
        raise MotionError(f"{path} is not a motion; expected {READABLE}") from None
    except csv.Error as error:
        raise MotionError(f"{path} is not a motion table ({error}); expected one that this program saved") from None
    if header is None:
        raise MotionError(f'{path} is not a motion table: expected a first line \'# {{"format": "{FORMAT}", ...}}\'')
    if len(rows) < 2:
        raise MotionError(f"{path} has no frames; expected a row for each")
    cells = _cells(rows[1:], len(rows[0]), delimiter, path)
    arrays = _table_arrays(rows[0], cells, header.get("kind"), path)
    if "curves" in arrays:
        header["curve_names"] = [name.removeprefix("curve.") for name in rows[0] if name.startswith("curve.")]
    return MotionHeader.read(header, str(path)), arrays


def _comment(cells: list[str], line: str, delimiter: str) -> dict[str, Any] | None:
    """The header in the first line: as it was written, or cut into quoted cells by a spreadsheet."""
    for text in (line, delimiter.join(cells).rstrip(delimiter)):
        try:
            values = json.loads(text.strip().removeprefix("#")) if text.startswith("#") else None
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(values, dict) and values.get("format") == FORMAT:
            return values
    return None


def _cells(rows: list[list[str]], width: int, delimiter: str, path: Path) -> Floats:
    for i, row in enumerate(rows):
        if len(row) != width:
            raise MotionError(f"{path}: row {i + 1} has {len(row)} cells; expected {width}, as the heading has")
    if delimiter != ",":
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    try:
        return np.array(rows, np.float32)
    except ValueError as error:
        raise MotionError(f"{path}: {error}; expected numbers in every cell") from None


def _table_arrays(names: list[str], cells: Floats, kind: object, path: Path) -> Arrays:
    arrays: Arrays = {}
    shapes = {"points": (len(cells), 478, 3)} if kind == "landmarks" else pose_shapes(len(cells))
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
    return arrays
