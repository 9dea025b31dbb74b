"""Saving a motion and reading it back: `.npz`, `.json`, `.csv`, and what other programs leave."""

from pathlib import Path

from echomimic.errors import MotionError, OutputError
from echomimic.media.output import check_place
from echomimic.media.source import refuse_address
from echomimic.motion import archive, text
from echomimic.motion.schema import (
    FORMAT,
    Fields,
    check_canvas,
    check_fps,
    check_motion,
    motion_from_fields,
    without_nan,
)
from echomimic.types import LandmarkTrack, Motion

SUFFIXES = (".npz", ".json", ".csv")
VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".gif")


def save_motion(path: str | Path, motion: Motion, edits: tuple[str, ...] = ()) -> Path:
    """Save a motion by the suffix of `path`: `.npz` (exact, small), `.json` or `.csv` (for other tools, exact too).

    The file appears whole or not at all. `edits` are kept with it: the commands that made it, in order. Frames that
    are not valid get numbers interpolated from their neighbours. MotionError where the motion is unsound or the
    suffix unknown, OutputError where the file cannot be written.
    """
    path = check_motion_path(path)
    check_motion(motion)
    if isinstance(motion, LandmarkTrack):
        motion = without_nan(motion)
    write = {".npz": archive.write_npz, ".json": text.write_json, ".csv": text.write_csv}[path.suffix.lower()]
    try:
        write(path, motion, tuple(edits))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; expected a place that may be written") from None
    return path


def check_motion_path(path: str | Path) -> Path:
    """`path` if a motion can be saved there; else MotionError or OutputError in one line, before any work is done."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise MotionError(f"cannot save motion as {path.name!r}; expected a name that ends in {', '.join(SUFFIXES)}")
    check_place(path)
    return path


def load_motion(
    path: str | Path, fps: float | None = None, image_size: tuple[int, int] | None = None, pose: bool = False
) -> Motion:
    """Read a motion: a file of `save_motion`, what other programs leave, or a video, which is tracked.

    Others: V1's folder of `<i>.pkl`, V2's folder of `<i>.npy`, OpenPose or DWPose JSON (a file or a folder of them),
    mediapipe landmarks dumped as JSON or `.npy`. Nothing in them is ever executed. `fps` and `image_size` (width,
    height) are for formats that hold none (default: 24, and 512x512 for faces or 768x768 for hands, as V1 and V2 have
    it); a file that states its own wins. A video gives the face, or with `pose` body and hands. MotionError in one line
    where it cannot be used.
    """
    if fps is not None:
        check_fps(fps, "the wanted motion")
    if image_size is not None:
        check_canvas(image_size, "the wanted motion")
    path = Path(path)
    refuse_address(path, MotionError)
    if not path.exists():
        raise MotionError(f"there is no motion at {path}; expected a file or a folder")
    if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        from echomimic.motion.tracking import track_video

        return track_video(path, pose)
    fields = None if path.is_dir() else _own(path)
    if fields is not None:
        return motion_from_fields(fields, str(path))
    from echomimic.motion import formats

    return check_motion(formats.read_foreign(path, fps, image_size), str(path))


def load_edits(path: str | Path) -> tuple[str, ...]:
    """The commands that made a saved motion, in order; none for files of other programs."""
    path = Path(path)
    fields = None if path.is_dir() or not path.exists() else _own(path)
    return () if fields is None else fields.edits


def _own(path: Path) -> Fields | None:
    """What a file of ours holds, or None where it is somebody else's."""
    try:
        if path.suffix.lower() == ".npz":
            return archive.read_npz(path)
        if path.suffix.lower() == ".csv":
            return text.read_csv(path)
        if path.suffix.lower() == ".json":
            value = text.read_json(path)
            if isinstance(value, dict) and value.get("format") == FORMAT:
                return text.fields_from_json(value, str(path))
    except OSError as error:
        raise MotionError(f"{path} cannot be read: {error.strerror}") from None
    return None
