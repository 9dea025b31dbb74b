"""Look at a clip: once for the face, once for everything else. Frames are never kept, but for a few thumbnails."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from echomimic.errors import FaceError, MotionError
from echomimic.evaluate.hands import Hands, HandWatch, hand_watch
from echomimic.evaluate.landmarks import Faces, read_faces
from echomimic.evaluate.picture import Light, PictureWatch
from echomimic.evaluate.settings import Settings
from echomimic.media import Video, read_video
from echomimic.motion.tracking import track_video
from echomimic.notes import note
from echomimic.types import LandmarkTrack, Picture, Progress

THUMB = 160
"""Height of a thumbnail in pixels."""
_NEEDS_FACE = frozenset({"sync", "face", "picture", "reference", "expression", "csim", "syncnet", "efid"})


@dataclass(frozen=True)
class Watched:
    """What was seen of a clip; what was not asked for is None. `sheet` holds thumbnails at even distances."""

    video: Video
    faces: Faces | None
    light: Light
    hands: Hands | None
    sheet: tuple[Picture, ...]


def watch(path: Path, settings: Settings, progress: Progress | None = None) -> Watched:
    """Look at a video; VideoError where it cannot be read. A clip that shows no face has none of the face's metrics."""
    video = read_video(path)
    faces = None
    if _NEEDS_FACE & set(settings.groups):
        faces = watch_face(path, _part(progress, 0, video.count))
    light, hands, sheet = _watch_pictures(video, faces, settings, _part(progress, video.count, video.count))
    return Watched(video, faces, light, hands, sheet)


def watch_face(path: Path, progress: Progress | None = None) -> Faces | None:
    """The face of a video as a track; None, and a note, where there is none."""
    try:
        track = track_video(path, progress=progress)
    except (FaceError, MotionError) as error:
        note(error.code, "{problem}", problem=error)
        return None
    assert isinstance(track, LandmarkTrack)
    return read_faces(track)


def _watch_pictures(
    video: Video, faces: Faces | None, settings: Settings, progress: Progress | None
) -> tuple[Light, Hands | None, tuple[Picture, ...]]:
    wanted = set(np.linspace(0, video.count - 1, settings.sheet).round().astype(int).tolist())
    step = max(1, round(video.fps / settings.hand_rate))
    pictures, sheet = PictureWatch(video.fps), []
    with ExitStack() as stack:
        hands: HandWatch | None = stack.enter_context(hand_watch()) if settings.wants("hands") else None
        for index, (_, pixels) in enumerate(video.frames()):
            pictures.see(pixels, _points(faces, index))
            if hands is not None and index % step == 0:
                hands.see(pixels)
            if index in wanted:
                sheet.append(_thumb(pixels))
            if progress:
                progress(index + 1, video.count)
        return pictures.result(), hands.result() if hands else None, tuple(sheet)


def _points(faces: Faces | None, index: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]] | None":
    if faces is None or index >= len(faces.track) or not faces.valid[index]:
        return None
    points: np.ndarray[tuple[int, int], np.dtype[np.float32]] = faces.track.points[index]
    return points


def _thumb(pixels: Picture) -> Picture:
    width = max(1, round(pixels.shape[1] * THUMB / pixels.shape[0]))
    return np.asarray(cv2.resize(pixels, (width, THUMB), interpolation=cv2.INTER_AREA), np.uint8)


def _part(progress: Progress | None, before: int, count: int) -> Progress | None:
    """Progress of one of the two looks, out of both."""
    if progress is None:
        return None

    def step(done: int, _total: int) -> None:
        progress(before + min(done, count), 2 * count)

    return step
