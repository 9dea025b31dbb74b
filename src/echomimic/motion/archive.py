"""Motion as `.npz`: numpy arrays and words, never an object, checked before anything is unpacked."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.media import atomic_path
from echomimic.motion.schema import FORMAT, UNITS, VERSION, Fields, kind_of
from echomimic.types import CURVE_NAMES, LandmarkTrack, Motion

Arrays = dict[str, npt.NDArray[np.generic]]

MAX_BYTES = 64 << 30
_WORDS = ("format", "version", "kind", "units", "fps", "canvas", "curve_names", "curves_fps", "edits", "parts")


def arrays_of(motion: Motion) -> Arrays:
    """The arrays of a motion by the names that files give them."""
    if isinstance(motion, LandmarkTrack):
        curves: Arrays = {} if motion.curves is None else {"curves": motion.curves.values}
        return {"points": motion.points, "valid": motion.valid, **curves}
    return {"body": motion.body, "hands": motion.hands, "face": motion.face}


def write_npz(path: Path, motion: Motion, edits: tuple[str, ...]) -> None:
    """Write the motion to `path`, whole or not at all."""
    kind = kind_of(motion)
    words: Arrays = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "kind": np.array(kind),
        "units": np.array(UNITS[kind]),
        "fps": np.array(float(motion.fps)),
        "canvas": np.array(motion.image_size, np.int64),
        "edits": np.array(edits, dtype=np.str_),
    }
    if isinstance(motion, LandmarkTrack) and motion.curves is not None:
        words |= {"curve_names": np.array(CURVE_NAMES), "curves_fps": np.array(float(motion.curves.fps))}
    if isinstance(motion, LandmarkTrack) and motion.parts is not None:
        words["parts"] = np.array(motion.parts, dtype=np.str_)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **words, **arrays_of(motion))


def read_npz(path: Path) -> Fields:
    """What `path` holds; MotionError where it is no archive of ours. No object is ever unpickled."""
    try:
        arrays = read_arrays(path)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        why = _first_line(error)
        raise MotionError(
            f"{path} cannot be read ({why}); expected a motion file of this program: save it again"
        ) from None
    if "format" not in arrays or str(arrays["format"]) != FORMAT:
        raise MotionError(f"{path} is no motion file of this program (it holds {_some(arrays)}); expected {FORMAT!r}")
    return _fields(arrays, path)


def _fields(arrays: Arrays, path: Path) -> Fields:
    missing = [name for name in ("version", "kind", "fps", "canvas") if name not in arrays]
    if missing:
        raise MotionError(f"{path} has no '{missing[0]}'; expected a motion file of this program")
    try:
        image_size = tuple(int(side) for side in np.ravel(arrays["canvas"]))
        rate = float(arrays["curves_fps"].item()) if "curves_fps" in arrays else None
        return Fields(
            kind=str(arrays["kind"]),
            fps=float(arrays["fps"].item()),
            image_size=(image_size[0], image_size[1]),
            arrays={name: values for name, values in arrays.items() if name not in _WORDS},
            curve_names=_strings(arrays, "curve_names"),
            curves_fps=rate,
            version=int(arrays["version"].item()),
            edits=_strings(arrays, "edits"),
            parts=_strings(arrays, "parts") if "parts" in arrays else None,
        )
    except (ValueError, TypeError, IndexError):
        raise MotionError(f"{path} has a version, frame rate or canvas that is no number; expected numbers") from None


def _strings(arrays: Arrays, name: str) -> tuple[str, ...]:
    return tuple(str(word) for word in np.ravel(arrays[name])) if name in arrays else ()


def read_arrays(path: Path) -> Arrays:
    """Every array of an `.npz`, by name.

    Each header is compared with the size that the archive states before memory is taken, so that a small file cannot
    ask for a large array; object arrays are refused.
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
    """One `.npy` of `size` bytes from an open file; MotionError for object arrays and false headers."""
    shape, fortran, dtype = read_header(file)
    count = math.prod(shape)
    if dtype.hasobject:
        raise MotionError(f"{where} holds Python objects; expected plain numbers: it was not opened")
    if count * dtype.itemsize > size:
        raise MotionError(f"{where} promises {count * dtype.itemsize} bytes and holds {size}: the file is broken")
    values = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
    return values.reshape(shape, order="F" if fortran else "C")


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """The header of a `.npy`: its shape, whether it is in Fortran order, and the type of its items."""
    version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)  # type: ignore[no-untyped-call]
    return tuple(shape), bool(fortran), dtype


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _some(arrays: Arrays) -> str:
    return ", ".join(sorted(arrays)[:6]) or "nothing"
